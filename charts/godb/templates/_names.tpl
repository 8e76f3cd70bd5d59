{{- /* Names, labels and images that more than one object needs. */ -}}

{{- define "godb.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains "godb" .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-godb" .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- /* For what exists once in the cluster: releases of one name in two namespaces must not meet. */ -}}
{{- define "godb.clusterName" -}}
{{- printf "%s:%s" .Release.Namespace (include "godb.fullname" .) -}}
{{- end -}}

{{- define "godb.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "godb.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | required "serviceAccount.create is false: serviceAccount.name must name the account that is there" -}}
{{- end -}}
{{- end -}}

{{- /* What a selector matches; never changes in the life of a release. */ -}}
{{- define "godb.selectorLabels" -}}
app.kubernetes.io/name: godb-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- /* Ours win over the user's, so that no label is there twice. */ -}}
{{- define "godb.labels" -}}
{{- $own := include "godb.selectorLabels" . | fromYaml -}}
{{- $about := include "godb.aboutLabels" . | fromYaml -}}
{{- toYaml (merge $own $about .Values.commonLabels) -}}
{{- end -}}

{{- define "godb.podLabels" -}}
{{- $labels := include "godb.labels" . | fromYaml -}}
{{- toYaml (merge $labels .Values.podLabels) -}}
{{- end -}}

{{- /* What is there for `helm test` only, so that no selector of the operator's finds it. */ -}}
{{- define "godb.smokeLabels" -}}
{{- $own := dict "app.kubernetes.io/name" "godb-smoke" -}}
{{- $labels := include "godb.labels" . | fromYaml -}}
{{- toYaml (merge $own $labels) -}}
{{- end -}}

{{- define "godb.aboutLabels" -}}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: godb
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "godb.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{- printf "%s@%s" .repository .digest -}}
{{- else -}}
{{- printf "%s:%s" .repository (.tag | default $.Chart.AppVersion) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* The same words for every container: Pod Security "restricted", and a root file system that
     nobody writes. */ -}}
{{- define "godb.containerSecurityContext" -}}
allowPrivilegeEscalation: false
capabilities:
  drop:
    - ALL
readOnlyRootFilesystem: true
{{- end -}}

{{- define "godb.podSecurityContext" -}}
runAsNonRoot: true
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- /* Where the operator looks, and so where an instance can be tried: */ -}}
{{- define "godb.watchedNamespace" -}}
{{- .Values.watch.namespace | default .Release.Namespace -}}
{{- end -}}
