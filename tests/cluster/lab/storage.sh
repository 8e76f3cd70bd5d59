# Sourced by init.sh: volumes of a real size, that grow while in use and can be copied as snapshots.
set -euo pipefail
mkdir -p "$LAB/kubelet/plugins_registry"
run csi-loop csi-loop --dir "$LAB/csi/volumes" --node node1 --socket "$LAB/csi/csi.sock" \
  --registry "$LAB/kubelet/plugins_registry" --kubeconfig "$LAB/admin.kubeconfig"
kubectl apply --server-side -f "$PROGRAMS/crd"
kubectl wait --for=condition=Established -f "$PROGRAMS/crd"
kubectl apply -f - <<END
apiVersion: storage.k8s.io/v1
kind: CSIDriver
metadata: {name: loop.csi.godb.test}
spec: {attachRequired: false, podInfoOnMount: false, fsGroupPolicy: File}
---
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: loop, annotations: {storageclass.kubernetes.io/is-default-class: "true"}}
provisioner: loop.csi.godb.test
volumeBindingMode: WaitForFirstConsumer
allowVolumeExpansion: true
---
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: loop-fixed}
provisioner: loop.csi.godb.test
volumeBindingMode: WaitForFirstConsumer
allowVolumeExpansion: false
---
apiVersion: snapshot.storage.k8s.io/v1
kind: VolumeSnapshotClass
metadata: {name: loop, annotations: {snapshot.storage.kubernetes.io/is-default-class: "true"}}
driver: loop.csi.godb.test
deletionPolicy: Delete
END
until_ok test -S "$LAB/csi/csi.sock"
sidecar=(--kubeconfig "$LAB/admin.kubeconfig" --csi-address "$LAB/csi/csi.sock" --retry-interval-start 200ms)
run csi-resizer csi-resizer "${sidecar[@]}"
run csi-snapshotter csi-snapshotter "${sidecar[@]}"
run snapshot-controller snapshot-controller --kubeconfig "$LAB/admin.kubeconfig" --retry-interval-start 200ms
