package main

import (
	"context"
	"os"
	"time"

	"github.com/sirupsen/logrus"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/argoproj/argo-cd/v3/controller"
	"github.com/argoproj/argo-cd/v3/controller/sharding"
	"github.com/argoproj/argo-cd/v3/pkg/apis/application/v1alpha1"
	appclientset "github.com/argoproj/argo-cd/v3/pkg/client/clientset/versioned"
	"github.com/argoproj/argo-cd/v3/util/argo"
	"github.com/argoproj/argo-cd/v3/util/argo/normalizers"
	"github.com/argoproj/argo-cd/v3/util/cache"
	"github.com/argoproj/argo-cd/v3/util/cache/appstate"
	kubeutil "github.com/argoproj/argo-cd/v3/util/kube"
	"github.com/argoproj/argo-cd/v3/util/settings"
)

// resync is a quarter of an hour: what a test waits for comes by watches, or is asked for by the refresh annotation.
const resync = 15 * time.Minute

// backoffCooldown is Argo CD's default, as is all that is not named here.
const backoffCooldown = 330 * time.Second

// control is Argo CD's application controller, until it is killed. Its settings, projects and Applications are in
// the namespace argocd of $KUBECONFIG, which is also the cluster that it calls https://kubernetes.default.svc. What it
// compares and syncs is in the folders that stand for repositories.
func control(repositories folders) error {
	logrus.SetOutput(os.Stderr)
	logrus.SetLevel(logrus.InfoLevel)
	for name, value := range map[string]string{
		"ARGOCD_FAKE_IN_CLUSTER": "true",
		// Nothing is signed here.
		"ARGOCD_GPG_ENABLED": "false",
	} {
		if err := os.Setenv(name, value); err != nil {
			return err
		}
	}
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		return err
	}
	if err := v1alpha1.SetK8SConfigDefaults(config); err != nil {
		return err
	}
	ctx := context.Background()
	cluster := kubernetes.NewForConfigOrDie(config)
	known := settings.NewSettingsManager(ctx, cluster, namespace)
	shards, err := sharding.GetClusterSharding(cluster, known, "legacy", false)
	if err != nil {
		return err
	}
	argocd, err := controller.NewApplicationController(
		namespace,
		known,
		cluster,
		appclientset.NewForConfigOrDie(config),
		repositories,
		nil,
		appstate.NewCache(cache.NewCache(cache.NewInMemoryCache(time.Hour)), time.Hour),
		kubeutil.NewKubectl(),
		resync,
		0,
		0,
		0,
		nil,
		backoffCooldown,
		0,
		0,
		// Any port: nobody asks for its metrics.
		0,
		0,
		nil,
		nil,
		nil,
		20,
		false,
		shards,
		nil,
		nil,
		false,
		false,
		normalizers.IgnoreNormalizerOpts{},
		argo.DefaultEnableEventList(),
		false,
	)
	if err != nil {
		return err
	}
	argocd.Run(ctx, 4, 4)
	return nil
}
