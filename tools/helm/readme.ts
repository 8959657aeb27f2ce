/** What the chart's README says before its values. */
export const README = `# Helm chart of Turbo-Pi

Written by \`npm run generate\`, with values.yaml and values.schema.json, of tools/helm/values.ts. How to use it is in [the guide](../../../docs/guides/kubernetes.md),
what it makes and promises in [the reference](../../../docs/reference/kubernetes.md). Kubernetes 1.30 or newer; tried with Helm 4.2.4.

\`\`\`sh
kubectl create secret generic turbo-pi-keys --from-file=keys.json
helm install turbo-pi deploy/helm/turbo-pi --set keys.existingSecret=turbo-pi-keys
\`\`\`

A wrong name or value is refused by values.schema.json before anything is made. It has every setting of the server, from the same table as its
flags.
`
