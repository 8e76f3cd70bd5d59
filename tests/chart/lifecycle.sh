#!/usr/bin/env bash
# lifecycle.sh helm3|helm: the life of a release on a real cluster, by the commands of the chart's README
# as they stand there; nothing but the program called helm differs. Runs inside of the cluster
# (tests/cluster/lab/in.sh), which has the images of this build, and which nobody else uses meanwhile:
# the definitions are made, changed and deleted, and with them every instance there is.
source "$(dirname "$0")/../../scripts/env.sh"
program=${1:?helm3 or helm}

definition=crd/godbinstances.godb.dev
if kubectl get "$definition" >/dev/null 2>&1; then
  [ -z "$(kubectl get godbinstance --all-namespaces --output name)" ] ||
    die "this cluster has instances of godb; this test deletes the definitions, and every instance with them"
  kubectl delete "$definition" >/dev/null
fi

# A copy of the chart where the commands look for it, and the program under the name they call it by.
work=$(mktemp -d)
mkdir -p "$work/bin" "$work/charts"
ln -s "$(command -v "$program")" "$work/bin/helm"
export PATH="$work/bin:$PATH" HELM_CACHE_HOME="$work/cache" HELM_CONFIG_HOME="$work/config" HELM_DATA_HOME="$work/data"
cp -r charts/godb "$work/charts/"
cd "$work"

version=$(awk '$1 == "appVersion:" { print $2 }' charts/godb/Chart.yaml)
# Under the names that a release gives them, so that no value has to be set.
images=("godb-operator:$version" "godb:$version")

clean_up() {
  local rc=$?
  if [ $rc -ne 0 ]; then
    echo "-- what is there after the failure:"
    kubectl get godbinstance,pod,statefulset,deployment --all-namespaces --output wide || true
    kubectl get godbinstance --all-namespaces --output jsonpath='{.items[*].status.conditions}' || true
    kubectl get events --namespace godb-system || true
    kubectl logs --namespace godb-system --selector app.kubernetes.io/name=godb-operator --tail 50 || true
  fi
  for namespace in godb-system shop; do
    helm list --namespace "$namespace" --short |
      xargs --no-run-if-empty --max-args 1 helm uninstall --namespace "$namespace" --ignore-not-found
  done >/dev/null 2>&1 || true
  # In this order: a namespace that goes while a kind goes waits for minutes.
  kubectl delete namespace --ignore-not-found godb-system shop >/dev/null || true
  kubectl delete --ignore-not-found "$definition" >/dev/null || true
  rm -rf "$work"
  # As a Rust test says it, for whoever counts.
  if [ $rc -eq 0 ]; then printf 'test result: ok. %s passed; 0 failed\n' "$count"; else
    printf 'test result: FAILED. %s passed; 1 failed\n' "$count"; fi
  exit $rc
}
trap clean_up EXIT

seconds=$SECONDS
count=0
passed() { # what
  printf 'test %s: %s ... ok (%s s)\n' "$program" "$1" "$((SECONDS - seconds))"
  seconds=$SECONDS
  count=$((count + 1))
}

# The block of the README under this mark, run as it is.
step() { # mark
  local block
  block=$(awk -v mark="<!-- tested: $1 -->" '
    $0 == mark { here = 1 } here && $0 == "```" { exit } here && inside { print } here && $0 == "```sh" { inside = 1 }
  ' charts/godb/README.md)
  [ -n "$block" ] || die "the README has no block marked $1"
  bash -euo pipefail -c "$block" >"$work/said" 2>&1 || { cat "$work/said"; die "$1 fails: $block"; }
  passed "$1"
}

# Fails unless the command fails and says this.
refused() { # what it says, command...
  local says=$1
  shift
  if "$@" >"$work/said" 2>&1; then die "this should be refused: $*"; fi
  grep -q -e "$says" "$work/said" || { cat "$work/said"; die "$* should say: $says"; }
}

shop() { kubectl get godbinstance/shop --namespace godb-system --output jsonpath="$1"; }
pod() { kubectl get pod/shop-0 --namespace godb-system --output jsonpath='{.metadata.uid}{.status.containerStatuses[0].restartCount}'; }
# A request to the node, at the address that its Secret tells applications; the names of Services are
# known to pods only.
node() { # path, curl's options...
  local path=$1 url host ip
  shift
  url=$(kubectl get secret/shop-app --namespace godb-system --output jsonpath='{.data.url}' | base64 --decode)
  host=${url#http://}
  ip=$(kubectl get service/shop --namespace godb-system --output jsonpath='{.spec.clusterIP}')
  curl --silent --show-error --fail --max-time 5 --retry 5 --retry-connrefused --resolve "$host:$ip" "$@" "$url$path"
}
unharmed() {
  kubectl wait godbinstance/shop --namespace godb-system --for condition=Ready --timeout 60s >/dev/null
  [ "$(pod)" = "$pod" ] || die "the node was restarted: $(pod), it was $pod"
  node /collections/orders/documents/1 | grep -q '"paid"' || die "the document is gone"
}

# The definition with one more optional field, as a later version of the chart might have it.
add_field() { # name
  sed -i -E "0,/^( +)storage:$/s//\1$1:\n\1  description: Any text.\n\1  type: string\n\1storage:/" \
    charts/godb/files/crds/*godbinstances*.yaml
}
fields() { kubectl get "$definition" --output jsonpath='{.spec.versions[0].schema.openAPIV3Schema.properties.spec.properties}'; }

for image in "${images[@]}"; do ctr images tag --force "localhost/${image%:*}:dev" "ghcr.io/godb/$image" 2>/dev/null >&2; done
# Namespaces as careful people have them: restricted pods, and a quota that wants amounts named.
for namespace in godb-system shop; do
  kubectl create namespace "$namespace" >/dev/null
  kubectl label namespace "$namespace" pod-security.kubernetes.io/enforce=restricted >/dev/null
  kubectl create quota all --namespace "$namespace" \
    --hard requests.cpu=4,requests.memory=4Gi,limits.memory=8Gi,pods=20 >/dev/null
done

for values in "" "watch.namespace=shop,replicas=2"; do
  helm template godb charts/godb --namespace godb-system --skip-tests --kube-version 1.37.2 --set "$values" |
    kubectl apply --dry-run=server --validate=strict -f - >"$work/said" || { cat "$work/said"; die "the API server refuses the chart"; }
done
passed "the API server takes every object, strictly checked"

step install
step instance
pod=$(pod)
node /collections/orders --header 'Content-Type: application/json' --data '{"_id":"1","paid":true}' >/dev/null
unharmed
step test

operator=system:serviceaccount:godb-system:godb
for right in "list secrets" "watch secrets" "delete persistentvolumeclaims" "list nodes" "list namespaces" \
  "list storageclasses" "list persistentvolumes" "delete godbinstances" "create pods"; do
  answer=$(kubectl auth can-i $right --all-namespaces --as "$operator" 2>/dev/null || true)
  [ "$answer" = no ] || die "the operator can $right"
done
passed "rights that it must not have"

add_field note
sed -i "s/^version: .*/version: 99.0.0/" charts/godb/Chart.yaml
step upgrade
fields | grep -q '"note"' || die "the upgrade did not bring the new field"
kubectl patch godbinstance/shop --namespace godb-system --type merge --patch '{"spec":{"note":"kept"}}' >/dev/null
[ "$(shop '{.spec.note}')" = kept ]
unharmed
step rollback
if fields | grep -q '"note"'; then die "the rollback left the new field"; fi
unharmed
passed "upgrade with a new field and rollback: same pod, same document"

refused "already exists\|invalid ownership" helm install other charts/godb --namespace shop
step second-release
kubectl get roles,rolebindings --namespace shop --output name | grep -q rolebinding.rbac.authorization.k8s.io/godb
if kubectl get clusterrole/godb-system:godb >/dev/null 2>&1; then die "releases of one namespace have a ClusterRole"; fi
refused "no" kubectl auth can-i get secrets --namespace default --as system:serviceaccount:shop:godb
helm uninstall godb --namespace shop --wait >/dev/null
kubectl get "$definition" >/dev/null
unharmed
passed "a second release comes and goes"

helm upgrade godb charts/godb --namespace godb-system --wait --set crds.install=false >/dev/null
kubectl get "$definition" >/dev/null || die "crds.install=false removed the definitions"
helm upgrade godb charts/godb --namespace godb-system --wait >/dev/null
unharmed
passed "the definitions let go of and taken back"

step uninstall
kubectl wait --for delete deployment/godb --namespace godb-system --timeout 60s >/dev/null
kubectl get "$definition" >/dev/null || die "the definitions went with the release"
[ "$(pod)" = "$pod" ] || die "the node was restarted"
node /collections/orders/documents/1 >/dev/null
passed "instance and document are there without an operator"

step install # again, under the name it had
unharmed
step uninstall

refused "invalid ownership metadata" helm install documents charts/godb --namespace godb-system
step take-over
step taken-over
unharmed
generation=$(shop '{.status.observedGeneration}')
kubectl patch godbinstance/shop --namespace godb-system --type merge --patch '{"spec":{"engine":{"durability":"full"}}}' >/dev/null
kubectl wait godbinstance/shop --namespace godb-system --for jsonpath='{.status.observedGeneration}'=$((generation + 1)) --timeout 60s >/dev/null
kubectl wait godbinstance/shop --namespace godb-system --for condition=ConfigApplied --timeout 60s >/dev/null
unharmed
passed "the new release looks after the instance"

helm uninstall documents --namespace godb-system --wait >/dev/null
kubectl delete "$definition" >/dev/null
step manual
add_field memo # what the chart has now is no longer what was applied by hand
refused "invalid ownership metadata" helm install godb charts/godb --namespace godb-system
if [ "$program" = helm3 ]; then
  step manual-then-helm3
else
  helm uninstall godb --namespace godb-system --ignore-not-found >/dev/null
  refused "conflict" helm install godb charts/godb --namespace godb-system --take-ownership
  helm uninstall godb --namespace godb-system --ignore-not-found >/dev/null
  step manual-then-helm4
fi
fields | grep -q '"memo"' || die "the definitions are not those of the chart"
passed "definitions that were applied by hand"

if [ "$program" != helm3 ]; then
  helm uninstall godb --namespace godb-system --wait >/dev/null
  helm3 install godb charts/godb --namespace godb-system --wait >/dev/null
  add_field hint
  step upgrade
  fields | grep -q '"hint"' || die "Helm 4 does not upgrade the definitions that Helm 3 installed"
  passed "a release of Helm 3 goes on under Helm 4"
fi
