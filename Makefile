# Brings kube-apiserver, etcd, kubectl and kube-controller-manager here and says where: $KUBEBUILDER_ASSETS, the user's
# cache, or a build from their Go modules (once, about six minutes).
.PHONY: control-plane
control-plane:
	@tests/control-plane/ensure
