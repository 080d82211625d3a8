// The version of Argo Workflows; go.sum pins its content. testcluster/build.py says how it is built.
module dev.toolkit/cluster/argo

go 1.25.7

require github.com/argoproj/argo-workflows/v3 v3.7.18
