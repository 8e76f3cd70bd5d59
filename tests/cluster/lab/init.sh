#!/usr/bin/env bash
# The first process of the cluster's namespaces: network, keys and configuration below $LAB, then
# every server. Started by start.sh, which sets LAB, PROGRAMS and CGROUP.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
node_ip=10.244.0.1 pods=10.244.1.0/24 services=10.96.0.0/16 dns_ip=10.96.0.10
cd "$LAB"
mkdir -p pki containerd etcd kubelet csi cni

began=${EPOCHREALTIME/./}
step() { # what has just been done: its seconds, to where start.sh reads them
  local now=${EPOCHREALTIME/./}
  awk -v us=$((now - began)) -v what="$*" 'BEGIN { printf "%6.1f s  %s\n", us / 1e6, what }' >>log/steps
  began=$now
}
run() { # name, command...: in the background, logging to a file
  local name=$1
  shift
  "$@" >"log/$name.log" 2>&1 &
  echo "$! $name" >>servers
}
until_ok() {
  for _ in $(seq 600); do
    if "$@" >/dev/null 2>&1; then return; fi
    sleep 0.1
  done
  echo "gave up after 60 s: $*"
  exit 1
}

# --- network: no default route, so nothing can leave -------------------------------------------
hostname node1
ip link set lo up
ip link add node0 type bridge
ip addr add $node_ip/24 dev node0
ip link set node0 up
# Never used on the wire: kube-proxy rewrites these addresses first, but asks for a route before.
ip route add $services dev node0
echo 1 >/proc/sys/net/ipv4/ip_forward

# --- control groups: the kubelet wants its root to exist under every controller -------------------
if [ -f /sys/fs/cgroup/cgroup.controllers ]; then
  for controller in $(cat /sys/fs/cgroup/cgroup.controllers); do
    echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control || true
  done
  mkdir -p "/sys/fs/cgroup/$CGROUP"
else
  for c in /sys/fs/cgroup/*/; do
    if [ "$(basename "$c")" != unified ]; then mkdir -p "$c/$CGROUP"; fi
  done
  for f in cpus mems; do
    cat /sys/fs/cgroup/cpuset/cpuset.$f >"/sys/fs/cgroup/cpuset/$CGROUP/cpuset.$f"
  done
fi

# --- keys, tokens, kubeconfigs ---------------------------------------------------------------------
key() { openssl ecparam -name prime256v1 -genkey -noout -out "pki/$1.key"; }
certificate() { # name, subject, extensions
  key "$1"
  openssl req -new -key "pki/$1.key" -subj "$2" |
    openssl x509 -req -CA pki/ca.crt -CAkey pki/ca.key -CAcreateserial -days 3650 \
      -extfile <(printf '%s\n' "$3") -out "pki/$1.crt" 2>/dev/null
}
key ca
openssl req -x509 -new -key pki/ca.key -subj /CN=godb-cluster-ca -days 3650 -out pki/ca.crt
key service-account
certificate apiserver /CN=kube-apiserver "subjectAltName=DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:localhost,IP:127.0.0.1,IP:$node_ip,IP:10.96.0.1"
certificate kubelet-client /CN=kube-apiserver-kubelet-client "extendedKeyUsage=clientAuth"
certificate kubelet /CN=node1 "subjectAltName=DNS:node1,IP:$node_ip"
user() { # file, user name, group: a static token and a kubeconfig that uses it
  local token
  token=$(openssl rand -hex 16)
  echo "$token,$2,$2,\"$3\"" >>tokens.csv
  cat >"$1.kubeconfig" <<END
apiVersion: v1
kind: Config
current-context: godb
contexts: [{name: godb, context: {cluster: godb, user: $1}}]
clusters: [{name: godb, cluster: {server: "https://127.0.0.1:6443", certificate-authority-data: $(base64 -w0 pki/ca.crt)}}]
users: [{name: $1, user: {token: $token}}]
END
  chmod 0600 "$1.kubeconfig" tokens.csv
}
user admin admin system:masters
user controller-manager system:kube-controller-manager ""
user scheduler system:kube-scheduler ""
user kubelet system:node:node1 system:nodes
user proxy system:kube-proxy ""
export KUBECONFIG=$LAB/admin.kubeconfig
step "network, control groups, keys"

# --- control plane ------------------------------------------------------------------------------
# The audit log has a line for each write that the API server answered: who wrote, and what.
cat >audit.yaml <<END
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - {level: Metadata, verbs: [create, update, patch, delete, deletecollection]}
  - {level: None}
END
run etcd etcd --data-dir etcd --unsafe-no-fsync --listen-client-urls http://127.0.0.1:2379 \
  --advertise-client-urls http://127.0.0.1:2379 --listen-peer-urls http://127.0.0.1:2380
run apiserver kube-apiserver --etcd-servers http://127.0.0.1:2379 \
  --bind-address 0.0.0.0 --advertise-address $node_ip --service-cluster-ip-range $services \
  --tls-cert-file pki/apiserver.crt --tls-private-key-file pki/apiserver.key \
  --client-ca-file pki/ca.crt --token-auth-file tokens.csv --authorization-mode Node,RBAC \
  --service-account-issuer https://kubernetes.default.svc.cluster.local \
  --service-account-key-file pki/service-account.key --service-account-signing-key-file pki/service-account.key \
  --kubelet-client-certificate pki/kubelet-client.crt --kubelet-client-key pki/kubelet-client.key \
  --kubelet-certificate-authority pki/ca.crt --kubelet-preferred-address-types InternalIP \
  --audit-policy-file audit.yaml --audit-log-path "$LAB/log/audit.log" \
  --enable-admission-plugins NodeRestriction --allow-privileged
until_ok kubectl get --raw /readyz
run controller-manager kube-controller-manager --kubeconfig controller-manager.kubeconfig \
  --authentication-kubeconfig controller-manager.kubeconfig --authorization-kubeconfig controller-manager.kubeconfig \
  --use-service-account-credentials --service-account-private-key-file pki/service-account.key \
  --root-ca-file pki/ca.crt --leader-elect=false
run scheduler kube-scheduler --kubeconfig scheduler.kubeconfig \
  --authentication-kubeconfig scheduler.kubeconfig --authorization-kubeconfig scheduler.kubeconfig --leader-elect=false
step "etcd, API server"

# --- node: containerd, kubelet, kube-proxy, DNS ---------------------------------------------------
cat >cni/10-bridge.conflist <<END
{"cniVersion": "1.0.0", "name": "pods", "plugins": [{"type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true,
  "ipam": {"type": "host-local", "dataDir": "$LAB/cni/ipam", "ranges": [[{"subnet": "$pods"}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}
END
cat >containerd/config.toml <<END
version = 3
root = "$LAB/containerd/root"
state = "$LAB/containerd/state"
[grpc]
  address = "$LAB/containerd/containerd.sock"
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = "localhost/pause:1"
[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true  # lowering it needs CAP_SYS_RESOURCE, which not every root has
[plugins.'io.containerd.cri.v1.runtime'.cni]
  bin_dirs = ["/usr/lib/cni"]
  conf_dir = "$LAB/cni"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
    SystemdCgroup = false
END
run containerd containerd --config containerd/config.toml
export CONTAINERD_ADDRESS=$LAB/containerd/containerd.sock CONTAINERD_NAMESPACE=k8s.io
until_ok ctr version
ctr images import --local "$PROGRAMS/images/pause.tar"

: >resolv.conf # no name outside of the cluster
cat >kubelet/config.yaml <<END
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false
cgroupDriver: cgroupfs
cgroupRoot: /$CGROUP
containerRuntimeEndpoint: unix://$LAB/containerd/containerd.sock
tlsCertFile: $LAB/pki/kubelet.crt
tlsPrivateKeyFile: $LAB/pki/kubelet.key
authentication: {anonymous: {enabled: false}, webhook: {enabled: false}, x509: {clientCAFile: $LAB/pki/ca.crt}}
authorization: {mode: AlwaysAllow}
clusterDomain: cluster.local
clusterDNS: [$dns_ip]
resolvConf: $LAB/resolv.conf
seccompDefault: true
# A grown volume's file system follows at a sync of its pod, elsewhere within 90 s.
syncFrequency: 5s
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1%}
END
run kubelet kubelet --config kubelet/config.yaml --kubeconfig kubelet.kubeconfig --root-dir "$LAB/kubelet" \
  --hostname-override node1 --node-ip $node_ip
cat >proxy.yaml <<END
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
nftables: {minSyncPeriod: 100ms}  # elsewhere a Service learns of a ready pod within a second
clientConnection: {kubeconfig: $LAB/proxy.kubeconfig}
clusterCIDR: $pods
hostnameOverride: node1
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
END
run proxy kube-proxy --config proxy.yaml
cat >Corefile <<END
.:53 {
  errors
  ready $node_ip:8181
  kubernetes cluster.local in-addr.arpa {
    kubeconfig $LAB/admin.kubeconfig
  }
  cache 5
}
END
run coredns coredns -conf Corefile
kubectl apply -f - <<END
{apiVersion: v1, kind: Service, metadata: {name: kube-dns, namespace: kube-system}, spec: {clusterIP: $dns_ip, ports: [{name: dns, port: 53, protocol: UDP}, {name: dns-tcp, port: 53, protocol: TCP}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: kube-dns-node, namespace: kube-system, labels: {kubernetes.io/service-name: kube-dns}}
addressType: IPv4
endpoints: [{addresses: [$node_ip]}]
ports: [{name: dns, port: 53, protocol: UDP}, {name: dns-tcp, port: 53, protocol: TCP}]
END
step "containerd, kubelet, kube-proxy, DNS"

source "$here/storage.sh"
step "volumes: CSI driver, resizer, snapshotter"

kubectl wait --for=create node/node1 --timeout 60s
kubectl wait --for=condition=Ready node/node1 --timeout 60s
until_ok curl -fsS http://$node_ip:8181/ready
until_ok kubectl -n default get serviceaccount default
step "node ready, names answered"
touch ready
wait
