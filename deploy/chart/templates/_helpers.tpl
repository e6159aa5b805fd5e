{{/* The name of what is installed. */}}
{{- define "compliance-partner-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* The name of this installation's objects. */}}
{{- define "compliance-partner-operator.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "compliance-partner-operator.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What the Deployment, the Service and the policies choose pods by. It can never change. */}}
{{- define "compliance-partner-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ include "compliance-partner-operator.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{/* The labels of every object but pods. */}}
{{- define "compliance-partner-operator.labels" -}}
{{ include "compliance-partner-operator.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" | quote }}
{{- end -}}

{{/* A map of texts. A bare true, as --set makes it, becomes the text that labels and annotations need. */}}
{{- define "compliance-partner-operator.texts" -}}
{{- $texts := dict -}}
{{- range $key, $text := . -}}
{{- $_ := set $texts $key (toString $text) -}}
{{- end -}}
{{- toYaml $texts -}}
{{- end -}}

{{- define "compliance-partner-operator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "compliance-partner-operator.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "compliance-partner-operator.image" -}}
{{- $tag := default .Chart.AppVersion .Values.image.tag -}}
{{- if .Values.image.digest -}}
{{- printf "%s:%s@%s" .Values.image.repository $tag .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository $tag -}}
{{- end -}}
{{- end -}}

{{- define "compliance-partner-operator.adminPort" -}}
{{- regexFind "[0-9]+$" .Values.adminAddress -}}
{{- end -}}

{{/* The flag's own bounds, told at once and not by a pod that does not start. */}}
{{- define "compliance-partner-operator.syncInterval" -}}
{{- $units := dict "ms" 1 "s" 1000 "m" 60000 "h" 3600000 -}}
{{- $milliseconds := int64 0 -}}
{{- range regexFindAll "[0-9]+(ms|h|m|s)" .Values.syncInterval -1 -}}
{{- $milliseconds = add $milliseconds (mul (regexFind "^[0-9]+" . | int64) (get $units (regexFind "[a-z]+$" .))) -}}
{{- end -}}
{{- if or (lt $milliseconds (int64 1000)) (gt $milliseconds (int64 86400000)) -}}
{{- fail (printf "syncInterval is %s: it has to be from 1s to 24h" .Values.syncInterval) -}}
{{- end -}}
{{- .Values.syncInterval -}}
{{- end -}}

{{/* How the operator is started. */}}
{{- define "compliance-partner-operator.args" -}}
- run
{{- with .Values.watchNamespaces }}
- {{ printf "--watch-namespaces=%s" (join "," .) | quote }}
{{- end }}
- {{ printf "--sync-interval=%s" (include "compliance-partner-operator.syncInterval" .) | quote }}
- {{ printf "--heartbeat-stale-after=%s" .Values.heartbeatStaleAfter | quote }}
- {{ printf "--heartbeat-resolution=%s" .Values.heartbeatResolution | quote }}
{{- if .Values.observeOnly }}
- --observe-only
{{- end }}
- {{ printf "--abandon-cleanup-after=%s" .Values.abandonCleanupAfter | quote }}
{{- with .Values.operatorIdentityNamespaces }}
- {{ printf "--operator-identity-namespaces=%s" (join "," .) | quote }}
{{- end }}
- {{ printf "--admin-address=%s" .Values.adminAddress | quote }}
- {{ printf "--log-format=%s" .Values.logFormat | quote }}
- {{ printf "--log-level=%s" .Values.logLevel | quote }}
{{- with .Values.graphEndpoint }}
- {{ printf "--graph-endpoint=%s" . | quote }}
{{- end }}
{{- with .Values.authorityHost }}
- {{ printf "--authority-host=%s" . | quote }}
{{- end }}
{{- with .Values.metadataEndpoint }}
- {{ printf "--metadata-endpoint=%s" . | quote }}
{{- end }}
{{- end -}}

{{/* All that the operator may do, in the whole cluster or in a namespace that it watches. */}}
{{- define "compliance-partner-operator.rules" -}}
- apiGroups: [intune.msgraph.dev]
  resources: [compliancemanagementpartners, graphconnections]
  # list: where the API server does not stream lists by the watch, as before Kubernetes 1.34.
  verbs: [list, watch]
# The finalizer of resources with deletionPolicy: Reset.
- apiGroups: [intune.msgraph.dev]
  resources: [compliancemanagementpartners]
  verbs: [patch]
# Whether a blocked clean-up is to be given up is decided by live reads.
- apiGroups: [intune.msgraph.dev]
  resources: [graphconnections]
  verbs: [get]
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get]
- apiGroups: [intune.msgraph.dev]
  resources: [compliancemanagementpartners/status, graphconnections/status]
  verbs: [patch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- if .Values.rbac.clusterWideSecrets }}
# By name: never a list of them.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get]
{{- end }}
{{- end -}}

{{/* Who the operator is, where it is bound to a role. */}}
{{- define "compliance-partner-operator.subjects" -}}
- kind: ServiceAccount
  name: {{ include "compliance-partner-operator.serviceAccountName" . | quote }}
  namespace: {{ .Release.Namespace | quote }}
{{- end -}}

{{/* Where a pod runs, and with what its image is pulled. */}}
{{- define "compliance-partner-operator.placement" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- include "compliance-partner-operator.texts" . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- end -}}

{{/* How Prometheus reads the metrics, by a Service or by the pod. */}}
{{- define "compliance-partner-operator.scrape" -}}
path: /metrics
interval: {{ .interval }}
scrapeTimeout: {{ .scrapeTimeout }}
honorLabels: {{ .honorLabels }}
{{- with .relabelings }}
relabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .metricRelabelings }}
metricRelabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
