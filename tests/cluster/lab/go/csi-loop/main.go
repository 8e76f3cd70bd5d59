// csi-loop is a CSI driver for one test node. A volume is a sparse file with
// an XFS file system in it, mounted through a loop device, so it has a real
// size: it can be full, be grown while in use, and be copied as a snapshot.
// (Growing a mounted ext4 needs CAP_SYS_RESOURCE, which not every machine
// gives root; growing a mounted XFS does not.)
//
// State is the files themselves: DIR/<name>.img and DIR/<name>.snap.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/workqueue"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"
)

const name = "loop.csi.godb.test"

type driver struct {
	csi.UnimplementedIdentityServer
	csi.UnimplementedControllerServer
	csi.UnimplementedNodeServer
	dir, node, socket string
	kube              kubernetes.Interface
	dynamic           dynamic.Interface
}

func sh(command string, args ...string) error {
	if out, err := exec.Command(command, args...).CombinedOutput(); err != nil {
		return status.Errorf(codes.Internal, "%s %s: %v: %s", command, strings.Join(args, " "), err, out)
	}
	return nil
}

func (d *driver) image(id string) string    { return filepath.Join(d.dir, filepath.Base(id)+".img") }
func (d *driver) snapshot(id string) string { return filepath.Join(d.dir, filepath.Base(id)+".snap") }

// Identity

func (d *driver) GetPluginInfo(context.Context, *csi.GetPluginInfoRequest) (*csi.GetPluginInfoResponse, error) {
	return &csi.GetPluginInfoResponse{Name: name, VendorVersion: "1"}, nil
}

func (d *driver) Probe(context.Context, *csi.ProbeRequest) (*csi.ProbeResponse, error) {
	return &csi.ProbeResponse{Ready: wrapperspb.Bool(true)}, nil
}

func (d *driver) GetPluginCapabilities(context.Context, *csi.GetPluginCapabilitiesRequest) (*csi.GetPluginCapabilitiesResponse, error) {
	return &csi.GetPluginCapabilitiesResponse{Capabilities: []*csi.PluginCapability{
		{Type: &csi.PluginCapability_Service_{Service: &csi.PluginCapability_Service{Type: csi.PluginCapability_Service_CONTROLLER_SERVICE}}},
		{Type: &csi.PluginCapability_VolumeExpansion_{VolumeExpansion: &csi.PluginCapability_VolumeExpansion{Type: csi.PluginCapability_VolumeExpansion_ONLINE}}},
	}}, nil
}

// Controller

func (d *driver) ControllerGetCapabilities(context.Context, *csi.ControllerGetCapabilitiesRequest) (*csi.ControllerGetCapabilitiesResponse, error) {
	r := &csi.ControllerGetCapabilitiesResponse{}
	for _, t := range []csi.ControllerServiceCapability_RPC_Type{
		csi.ControllerServiceCapability_RPC_CREATE_DELETE_VOLUME,
		csi.ControllerServiceCapability_RPC_CREATE_DELETE_SNAPSHOT,
		csi.ControllerServiceCapability_RPC_CLONE_VOLUME,
		csi.ControllerServiceCapability_RPC_EXPAND_VOLUME,
	} {
		r.Capabilities = append(r.Capabilities, &csi.ControllerServiceCapability{Type: &csi.ControllerServiceCapability_Rpc{Rpc: &csi.ControllerServiceCapability_RPC{Type: t}}})
	}
	return r, nil
}

func (d *driver) CreateVolume(_ context.Context, r *csi.CreateVolumeRequest) (*csi.CreateVolumeResponse, error) {
	size := max(r.CapacityRange.GetRequiredBytes(), 16<<20) // the least that XFS takes
	image := d.image(r.Name)
	answer := &csi.CreateVolumeResponse{Volume: &csi.Volume{VolumeId: r.Name, CapacityBytes: size, ContentSource: r.VolumeContentSource}}
	if info, err := os.Stat(image); err == nil {
		if info.Size() != size {
			return nil, status.Errorf(codes.AlreadyExists, "%s exists with size %d", r.Name, info.Size())
		}
		return answer, nil
	}
	part := image + ".part"
	defer os.Remove(part)
	source := ""
	if s := r.VolumeContentSource.GetSnapshot(); s != nil {
		source = d.snapshot(s.SnapshotId)
	} else if v := r.VolumeContentSource.GetVolume(); v != nil {
		source = d.image(v.VolumeId)
	}
	if source != "" {
		info, err := os.Stat(source)
		if err != nil {
			return nil, status.Error(codes.NotFound, err.Error())
		}
		if info.Size() > size {
			return nil, status.Errorf(codes.OutOfRange, "the source needs %d bytes", info.Size())
		}
		if err := sh("cp", "--sparse=always", source, part); err != nil {
			return nil, err
		}
	}
	if err := sh("truncate", "--size", fmt.Sprint(size), part); err != nil {
		return nil, err
	}
	if source == "" { // "unsupported": smaller than 300 MiB
		if err := sh("mkfs.xfs", "-q", "--unsupported", part); err != nil {
			return nil, err
		}
	}
	return answer, os.Rename(part, image)
}

func (d *driver) DeleteVolume(_ context.Context, r *csi.DeleteVolumeRequest) (*csi.DeleteVolumeResponse, error) {
	if err := os.Remove(d.image(r.VolumeId)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	return &csi.DeleteVolumeResponse{}, nil
}

func (d *driver) ValidateVolumeCapabilities(_ context.Context, r *csi.ValidateVolumeCapabilitiesRequest) (*csi.ValidateVolumeCapabilitiesResponse, error) {
	return &csi.ValidateVolumeCapabilitiesResponse{Confirmed: &csi.ValidateVolumeCapabilitiesResponse_Confirmed{VolumeCapabilities: r.VolumeCapabilities}}, nil
}

func (d *driver) ControllerExpandVolume(_ context.Context, r *csi.ControllerExpandVolumeRequest) (*csi.ControllerExpandVolumeResponse, error) {
	size := r.CapacityRange.GetRequiredBytes()
	info, err := os.Stat(d.image(r.VolumeId))
	if err != nil {
		return nil, status.Error(codes.NotFound, err.Error())
	}
	if size = max(size, info.Size()); size > info.Size() {
		if err := os.Truncate(d.image(r.VolumeId), size); err != nil {
			return nil, err
		}
	}
	return &csi.ControllerExpandVolumeResponse{CapacityBytes: size, NodeExpansionRequired: true}, nil
}

// CreateSnapshot copies the image while its file system, if mounted, is frozen.
func (d *driver) CreateSnapshot(_ context.Context, r *csi.CreateSnapshotRequest) (*csi.CreateSnapshotResponse, error) {
	snapshot := d.snapshot(r.Name)
	if _, err := os.Stat(snapshot); err != nil {
		if target := d.mountOf(r.SourceVolumeId); target != "" {
			if err := sh("fsfreeze", "--freeze", target); err != nil {
				return nil, err
			}
			defer sh("fsfreeze", "--unfreeze", target)
		}
		if err := sh("cp", "--sparse=always", d.image(r.SourceVolumeId), snapshot+".part"); err != nil {
			return nil, err
		}
		if err := os.Rename(snapshot+".part", snapshot); err != nil {
			return nil, err
		}
	}
	info, err := os.Stat(snapshot)
	if err != nil {
		return nil, err
	}
	return &csi.CreateSnapshotResponse{Snapshot: &csi.Snapshot{SnapshotId: r.Name, SourceVolumeId: r.SourceVolumeId,
		SizeBytes: info.Size(), CreationTime: timestamppb.New(info.ModTime()), ReadyToUse: true}}, nil
}

func (d *driver) DeleteSnapshot(_ context.Context, r *csi.DeleteSnapshotRequest) (*csi.DeleteSnapshotResponse, error) {
	if err := os.Remove(d.snapshot(r.SnapshotId)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	return &csi.DeleteSnapshotResponse{}, nil
}

// Node

func (d *driver) NodeGetInfo(context.Context, *csi.NodeGetInfoRequest) (*csi.NodeGetInfoResponse, error) {
	return &csi.NodeGetInfoResponse{NodeId: d.node}, nil
}

func (d *driver) NodeGetCapabilities(context.Context, *csi.NodeGetCapabilitiesRequest) (*csi.NodeGetCapabilitiesResponse, error) {
	r := &csi.NodeGetCapabilitiesResponse{}
	for _, t := range []csi.NodeServiceCapability_RPC_Type{
		csi.NodeServiceCapability_RPC_EXPAND_VOLUME,
		csi.NodeServiceCapability_RPC_GET_VOLUME_STATS,
		csi.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME,
	} {
		r.Capabilities = append(r.Capabilities, &csi.NodeServiceCapability{Type: &csi.NodeServiceCapability_Rpc{Rpc: &csi.NodeServiceCapability_RPC{Type: t}}})
	}
	return r, nil
}

// mountOf returns where the volume's staging mount is, or "".
func (d *driver) mountOf(id string) string {
	target, err := os.Readlink(filepath.Join(d.dir, filepath.Base(id)+".mount"))
	if err != nil || !mounted(target) {
		return ""
	}
	return target
}

// mounted asks the kernel's table: a file system that was shut down answers
// every other question with an I/O error.
func mounted(path string) bool {
	table, err := os.ReadFile("/proc/self/mountinfo")
	return err == nil && strings.Contains(string(table), " "+path+" ")
}

func (d *driver) NodeStageVolume(_ context.Context, r *csi.NodeStageVolumeRequest) (*csi.NodeStageVolumeResponse, error) {
	target := r.StagingTargetPath
	if mounted(target) {
		return &csi.NodeStageVolumeResponse{}, nil
	}
	if err := os.MkdirAll(target, 0o750); err != nil {
		return nil, err
	}
	if err := sh("mount", "-t", "xfs", "-o", "loop,nouuid", d.image(r.VolumeId), target); err != nil {
		return nil, err
	}
	link := filepath.Join(d.dir, filepath.Base(r.VolumeId)+".mount")
	os.Remove(link)
	if err := os.Symlink(target, link); err != nil {
		return nil, err
	}
	return &csi.NodeStageVolumeResponse{}, d.grow(target) // a volume restored into a larger one
}

func (d *driver) NodeUnstageVolume(_ context.Context, r *csi.NodeUnstageVolumeRequest) (*csi.NodeUnstageVolumeResponse, error) {
	if mounted(r.StagingTargetPath) {
		if err := sh("umount", r.StagingTargetPath); err != nil {
			return nil, err
		}
	}
	os.Remove(filepath.Join(d.dir, filepath.Base(r.VolumeId)+".mount"))
	return &csi.NodeUnstageVolumeResponse{}, nil
}

func (d *driver) NodePublishVolume(_ context.Context, r *csi.NodePublishVolumeRequest) (*csi.NodePublishVolumeResponse, error) {
	if mounted(r.TargetPath) {
		return &csi.NodePublishVolumeResponse{}, nil
	}
	if err := os.MkdirAll(r.TargetPath, 0o750); err != nil {
		return nil, err
	}
	options := "bind"
	if r.Readonly {
		options = "bind,ro"
	}
	return &csi.NodePublishVolumeResponse{}, sh("mount", "-o", options, r.StagingTargetPath, r.TargetPath)
}

func (d *driver) NodeUnpublishVolume(_ context.Context, r *csi.NodeUnpublishVolumeRequest) (*csi.NodeUnpublishVolumeResponse, error) {
	if mounted(r.TargetPath) {
		if err := sh("umount", r.TargetPath); err != nil {
			return nil, err
		}
	}
	return &csi.NodeUnpublishVolumeResponse{}, os.RemoveAll(r.TargetPath)
}

func (d *driver) grow(target string) error {
	out, err := exec.Command("findmnt", "-n", "-o", "SOURCE", "--mountpoint", target).Output()
	if err != nil {
		return err
	}
	loop := strings.SplitN(strings.TrimSpace(string(out)), "[", 2)[0]
	if err := sh("losetup", "--set-capacity", loop); err != nil {
		return err
	}
	return sh("xfs_growfs", target)
}

func (d *driver) NodeExpandVolume(_ context.Context, r *csi.NodeExpandVolumeRequest) (*csi.NodeExpandVolumeResponse, error) {
	target := d.mountOf(r.VolumeId)
	if target == "" {
		return nil, status.Errorf(codes.FailedPrecondition, "%s is not mounted", r.VolumeId)
	}
	return &csi.NodeExpandVolumeResponse{CapacityBytes: r.CapacityRange.GetRequiredBytes()}, d.grow(target)
}

func (d *driver) NodeGetVolumeStats(_ context.Context, r *csi.NodeGetVolumeStatsRequest) (*csi.NodeGetVolumeStatsResponse, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(r.VolumePath, &s); err != nil {
		return nil, status.Error(codes.NotFound, err.Error())
	}
	b := s.Bsize
	return &csi.NodeGetVolumeStatsResponse{Usage: []*csi.VolumeUsage{
		{Unit: csi.VolumeUsage_BYTES, Total: int64(s.Blocks) * b, Available: int64(s.Bavail) * b, Used: int64(s.Blocks-s.Bfree) * b},
		{Unit: csi.VolumeUsage_INODES, Total: int64(s.Files), Available: int64(s.Ffree), Used: int64(s.Files - s.Ffree)},
	}}, nil
}

// Provisioning: what csi-provisioner does, for this driver only.

func (d *driver) Provision(ctx context.Context, o controller.ProvisionOptions) (*v1.PersistentVolume, controller.ProvisioningState, error) {
	want := o.PVC.Spec.Resources.Requests[v1.ResourceStorage]
	r := &csi.CreateVolumeRequest{Name: o.PVName, CapacityRange: &csi.CapacityRange{RequiredBytes: want.Value()}}
	if s := o.PVC.Spec.DataSource; s != nil {
		var err error
		if r.VolumeContentSource, err = d.source(ctx, o.PVC.Namespace, s); err != nil {
			return nil, controller.ProvisioningFinished, err
		}
	}
	volume, err := d.CreateVolume(ctx, r)
	if err != nil {
		return nil, controller.ProvisioningFinished, err
	}
	return &v1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: o.PVName},
		Spec: v1.PersistentVolumeSpec{
			PersistentVolumeReclaimPolicy: *o.StorageClass.ReclaimPolicy,
			AccessModes:                   o.PVC.Spec.AccessModes,
			Capacity:                      v1.ResourceList{v1.ResourceStorage: *resource.NewQuantity(volume.Volume.CapacityBytes, resource.BinarySI)},
			PersistentVolumeSource:        v1.PersistentVolumeSource{CSI: &v1.CSIPersistentVolumeSource{Driver: name, VolumeHandle: o.PVName, FSType: "xfs"}},
		},
	}, controller.ProvisioningFinished, nil
}

func (d *driver) Delete(ctx context.Context, pv *v1.PersistentVolume) error {
	_, err := d.DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: pv.Spec.CSI.VolumeHandle})
	return err
}

func (d *driver) source(ctx context.Context, namespace string, s *v1.TypedLocalObjectReference) (*csi.VolumeContentSource, error) {
	if s.Kind == "PersistentVolumeClaim" {
		pvc, err := d.kube.CoreV1().PersistentVolumeClaims(namespace).Get(ctx, s.Name, metav1.GetOptions{})
		if err != nil {
			return nil, err
		}
		return &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Volume{Volume: &csi.VolumeContentSource_VolumeSource{VolumeId: pvc.Spec.VolumeName}}}, nil
	}
	group := schema.GroupVersion{Group: "snapshot.storage.k8s.io", Version: "v1"}
	snapshot, err := d.dynamic.Resource(group.WithResource("volumesnapshots")).Namespace(namespace).Get(ctx, s.Name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	bound, _, _ := unstructured.NestedString(snapshot.Object, "status", "boundVolumeSnapshotContentName")
	content, err := d.dynamic.Resource(group.WithResource("volumesnapshotcontents")).Get(ctx, bound, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	handle, ok, _ := unstructured.NestedString(content.Object, "status", "snapshotHandle")
	if !ok {
		return nil, fmt.Errorf("snapshot %s is not ready", s.Name)
	}
	return &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Snapshot{Snapshot: &csi.VolumeContentSource_SnapshotSource{SnapshotId: handle}}}, nil
}

// Registration with the kubelet, which elsewhere is a sidecar's work.
type registrar struct {
	registration.UnimplementedRegistrationServer
	socket string
}

func (r *registrar) GetInfo(context.Context, *registration.InfoRequest) (*registration.PluginInfo, error) {
	return &registration.PluginInfo{Type: registration.CSIPlugin, Name: name, Endpoint: r.socket, SupportedVersions: []string{"1.0.0"}}, nil
}

func (r *registrar) NotifyRegistrationStatus(_ context.Context, s *registration.RegistrationStatus) (*registration.RegistrationStatusResponse, error) {
	log.Printf("registered: %v %s", s.PluginRegistered, s.Error)
	return &registration.RegistrationStatusResponse{}, nil
}

func serve(socket string, register func(*grpc.Server)) {
	os.Remove(socket)
	l, err := net.Listen("unix", socket)
	if err != nil {
		log.Fatal(err)
	}
	s := grpc.NewServer(grpc.UnaryInterceptor(func(ctx context.Context, r any, i *grpc.UnaryServerInfo, h grpc.UnaryHandler) (any, error) {
		start := time.Now()
		answer, err := h(ctx, r)
		if err != nil || strings.Contains(i.FullMethod, "Create") || strings.Contains(i.FullMethod, "Expand") {
			log.Printf("%s %v %v", i.FullMethod, time.Since(start), err)
		}
		return answer, err
	}))
	register(s)
	log.Fatal(s.Serve(l))
}

func main() {
	d := &driver{}
	flag.StringVar(&d.dir, "dir", "", "where volumes are kept")
	flag.StringVar(&d.node, "node", "", "name of this node")
	flag.StringVar(&d.socket, "socket", "", "CSI socket")
	registry := flag.String("registry", "", "kubelet's plugins_registry directory")
	kubeconfig := flag.String("kubeconfig", "", "how to reach the API server")
	flag.Parse()
	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		log.Fatal(err)
	}
	d.kube, d.dynamic = kubernetes.NewForConfigOrDie(config), dynamic.NewForConfigOrDie(config)
	if err := os.MkdirAll(d.dir, 0o700); err != nil {
		log.Fatal(err)
	}
	go serve(d.socket, func(s *grpc.Server) {
		csi.RegisterIdentityServer(s, d)
		csi.RegisterControllerServer(s, d)
		csi.RegisterNodeServer(s, d)
	})
	ctx := context.Background()
	go controller.NewProvisionController(ctx, d.kube, name, d, controller.LeaderElection(false),
		controller.RateLimiter(workqueue.NewTypedItemExponentialFailureRateLimiter[string](100*time.Millisecond, 2*time.Second))).Run(ctx)
	serve(filepath.Join(*registry, name+"-reg.sock"), func(s *grpc.Server) {
		registration.RegisterRegistrationServer(s, &registrar{socket: d.socket})
	})
}
