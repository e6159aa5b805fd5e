{{/* The name of what is installed. */}}
{{- define "compliance-partner-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* The name of this installation's objects. A release's may have dots, and a Service's must not. */}}
{{- define "compliance-partner-operator.fullname" -}}
{{- $release := .Release.Name | replace "." "-" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "compliance-partner-operator.name" . -}}
{{- if contains $name $release -}}
{{- $release | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" $release $name | trunc 63 | trimSuffix "-" -}}
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
{{- required "serviceAccount.create=false takes serviceAccount.name: without it the operator's rights would go to the account default, and to every pod that has it" .Values.serviceAccount.name -}}
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

{{/* A duration's milliseconds. The operator takes none longer than a century; here it is asked part by part, since products
and sums of more would overflow. */}}
{{- define "compliance-partner-operator.milliseconds" -}}
{{- $units := dict "ms" 1 "s" 1000 "m" 60000 "h" 3600000 "d" 86400000 "w" 604800000 "y" 31536000000 -}}
{{- $most := int64 3153600000000 -}}
{{- $milliseconds := int64 0 -}}
{{- range regexFindAll "[0-9]+(ms|[smhdwy])" .duration -1 -}}
{{- $unit := get $units (regexFind "[a-z]+$" .) | int64 -}}
{{- /* Without zeros before it, which would make it octal; nothing is 0. */ -}}
{{- $number := regexFind "[1-9][0-9]*" . | int64 -}}
{{- if le $number (div $most $unit) -}}
{{- $milliseconds = add $milliseconds (mul $number $unit) -}}
{{- else -}}
{{- $milliseconds = add $most 1 -}}
{{- end -}}
{{- if gt $milliseconds $most -}}
{{- fail (printf "%s is %s: it has to be at most 876000h, a century" $.name $.duration) -}}
{{- end -}}
{{- end -}}
{{- $milliseconds -}}
{{- end -}}

{{/* A flag with a duration, or with never. Its bounds are told at once and not by a pod that does not start. */}}
{{- define "compliance-partner-operator.durationFlag" -}}
{{- if ne .duration "never" -}}
{{- $milliseconds := include "compliance-partner-operator.milliseconds" . | int64 -}}
{{- if and (eq .name "syncInterval") (or (lt $milliseconds (int64 1000)) (gt $milliseconds (int64 86400000))) -}}
{{- fail (printf "syncInterval is %s: it has to be from 1s to 24h" .duration) -}}
{{- end -}}
{{- end -}}
{{- printf "--%s=%s" (kebabcase .name) .duration | quote -}}
{{- end -}}

{{/* A namespace that a value names has to be one that the operator watches. */}}
{{- define "compliance-partner-operator.mustBeWatched" -}}
{{- if and .watched (not (has .namespace .watched)) -}}
{{- fail (printf "%s names the namespace %q, which watchNamespaces lacks: the operator would never look there" .value .namespace) -}}
{{- end -}}
{{- end -}}

{{/* How the operator is started. */}}
{{- define "compliance-partner-operator.args" -}}
- run
{{- with .Values.watchNamespaces }}
- {{ printf "--watch-namespaces=%s" (join "," .) | quote }}
{{- end }}
{{- range $name := list "syncInterval" "heartbeatStaleAfter" "heartbeatResolution" "abandonCleanupAfter" }}
- {{ include "compliance-partner-operator.durationFlag" (dict "name" $name "duration" (get $.Values $name)) }}
{{- end }}
{{- if .Values.observeOnly }}
- --observe-only
{{- end }}
{{- range .Values.operatorIdentityNamespaces }}
{{- include "compliance-partner-operator.mustBeWatched" (dict "value" "operatorIdentityNamespaces" "namespace" . "watched" $.Values.watchNamespaces) }}
{{- end }}
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

{{/* How Prometheus reads the metrics, by a Service or by the pod: with the values of one of both, and their name. */}}
{{- define "compliance-partner-operator.scrape" -}}
{{- $name := .name -}}
{{- with .monitor -}}
{{- $interval := include "compliance-partner-operator.milliseconds" (dict "name" (printf "%s.interval" $name) "duration" .interval) -}}
{{- $timeout := include "compliance-partner-operator.milliseconds" (dict "name" (printf "%s.scrapeTimeout" $name) "duration" .scrapeTimeout) -}}
{{- if gt ($timeout | int64) ($interval | int64) -}}
{{- fail (printf "%s.scrapeTimeout is %s: it has to be at most %s.interval, %s" $name .scrapeTimeout $name .interval) -}}
{{- end -}}
path: /metrics
interval: {{ .interval | quote }}
scrapeTimeout: {{ .scrapeTimeout | quote }}
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
{{- end -}}

{{/* The networks of a value of the NetworkPolicy, as peers. The address of the metadata service is none of them: it is left
out of each that it is within. That is so where both addresses, as numbers, are the same from the prefix on. */}}
{{- define "compliance-partner-operator.networks" -}}
{{- $metadata := int64 2852039166 -}}
{{- range .cidrs }}
{{- $octets := regexFindAll "[0-9]+" . -1 }}
{{- $within := false }}
{{- if not (contains ":" .) }}
{{- $network := int64 0 }}
{{- range $octets | initial }}
{{- $network = add (mul $network 256) (int64 .) }}
{{- end }}
{{- $size := int64 1 }}
{{- range until (sub 32 (last $octets | int) | int) }}
{{- $size = mul $size 2 }}
{{- end }}
{{- if and (eq $size 1) (eq $network $metadata) }}
{{- fail (printf "%s has the address of the metadata service: that is what networkPolicy.managedIdentity is for" $.name) }}
{{- end }}
{{- $within = eq (div $network $size) (div $metadata $size) }}
{{- end }}
- ipBlock:
    cidr: {{ . | quote }}
    {{- if $within }}
    except: [169.254.169.254/32]
    {{- end }}
{{- end }}
{{- end -}}
