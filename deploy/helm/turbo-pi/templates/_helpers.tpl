{{- define "turbo-pi.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- $joined := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) }}
{{- default $joined .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- end }}

{{- define "turbo-pi.selector" -}}
app.kubernetes.io/name: turbo-pi
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "turbo-pi.labels" -}}
{{ include "turbo-pi.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "turbo-pi.image" -}}
{{- $tag := default (printf "%s-%s" .Chart.AppVersion (ternary "nvcr" "cpu" (gt (int .Values.gpus) 0))) .Values.image.tag }}
{{- .Values.image.repository }}{{ with .Values.image.digest }}@{{ . }}{{ else }}:{{ $tag }}{{ end }}
{{- end }}

{{- /* The Secret with keys.json; nothing when nobody needs a key. */}}
{{- define "turbo-pi.keySecret" -}}
{{- with .Values.keys }}
{{- if and .existingSecret .list }}{{ fail "keys.existingSecret and keys.list exclude each other." }}{{ end }}
{{- if .existingSecret }}{{ .existingSecret }}{{ else if .list }}{{ include "turbo-pi.fullname" $ }}-keys{{ end }}
{{- end }}
{{- end }}

{{- /* The file of settings: the values', and what the chart adds. */}}
{{- define "turbo-pi.settings" -}}
{{- $settings := dict "host" "0.0.0.0" "runtime" (ternary "tensorrt" "cpu" (gt (int .Values.gpus) 0)) }}
{{- if gt (int .Values.gpus) 1 }}{{ $_ := set $settings "devices" "all" }}{{ end }}
{{- with .Values.policies.pull }}
{{- $policies := list }}
{{- range . }}{{ $policies = append $policies (printf "%s=/policies/%s" .name .name) }}{{ end }}
{{- $_ := set $settings "policy" $policies }}
{{- end }}
{{- $settings = mergeOverwrite $settings .Values.settings }}
{{- $_ := set $settings "port" 8000 }}
{{- $_ := set $settings "cache-dir" "/var/cache/turbo-pi" }}
{{- if include "turbo-pi.keySecret" . }}
{{- $_ := set $settings "api-keys" "/etc/turbo-pi/keys/keys.json" }}
{{- else if not (index $settings "allow-anonymous") }}
{{- fail "Nobody could ask: give keys.existingSecret or keys.list, or settings.allow-anonymous=true to serve everybody." }}
{{- end }}
{{- if .Values.tls.secret }}
{{- $_ := set $settings "tls-cert" "/etc/turbo-pi/tls/tls.crt" }}
{{- $_ := set $settings "tls-key" "/etc/turbo-pi/tls/tls.key" }}
{{- end }}
{{- toYaml $settings }}
{{- end }}

{{- /* Whole seconds that the server drains. */}}
{{- define "turbo-pi.drainSeconds" -}}
{{- $milliseconds := 10000 }}
{{- if hasKey .Values.settings "drain-timeout" }}{{ $milliseconds = index .Values.settings "drain-timeout" }}{{ end }}
{{- divf $milliseconds 1000 | ceil | int }}
{{- end }}

{{- /* The port of the Open Inference Protocol over gRPC; nothing where the settings name none. */}}
{{- define "turbo-pi.grpcPort" -}}
{{- if hasKey .Values.settings "grpc-port" }}
{{- $port := int (index .Values.settings "grpc-port") }}
{{- if eq $port 0 }}{{ fail "settings.grpc-port: 0 takes a free port, which no Service finds; name one, such as 8001." }}{{ end }}
{{- if gt $port 0 }}{{ $port }}{{ end }}
{{- end }}
{{- end }}

{{- define "turbo-pi.scheme" -}}
{{- ternary "HTTPS" "HTTP" (not (empty .Values.tls.secret)) }}
{{- end }}

{{- /* A volume: the claim that is there or made, else one that lives with the pod. Takes name, claim, sizeLimit, root. */}}
{{- define "turbo-pi.volume" -}}
- name: {{ .name }}
{{- if or .claim.name .claim.create }}
  persistentVolumeClaim:
    claimName: {{ default (printf "%s-%s" (include "turbo-pi.fullname" .root) .name) .claim.name }}
{{- else }}
  emptyDir:
    sizeLimit: {{ .sizeLimit }}
{{- end }}
{{- end }}

{{- define "turbo-pi.hasPolicies" -}}
{{- with .Values.policies }}{{ if or .pull .claim.name .claim.create }}true{{ end }}{{ end }}
{{- end }}

{{- define "turbo-pi.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}
