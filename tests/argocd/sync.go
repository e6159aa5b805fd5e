package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/argoproj/argo-cd/v3/pkg/apis/application/v1alpha1"
	"github.com/argoproj/argo-cd/v3/util/lua"
	"github.com/argoproj/gitops-engine/pkg/cache"
	"github.com/argoproj/gitops-engine/pkg/health"
	"github.com/argoproj/gitops-engine/pkg/sync"
	"github.com/argoproj/gitops-engine/pkg/sync/common"
	"github.com/argoproj/gitops-engine/pkg/utils/kube"
	"github.com/argoproj/gitops-engine/pkg/utils/tracing"
)

// The annotation by which Argo CD knows the objects of an Application.
const tracking = "argocd.argoproj.io/tracking-id"

// syncLimit is longer than a sync takes where each wave turns Healthy at once.
const syncLimit = time.Minute

// pause lets others work on what was applied.
const pause = 200 * time.Millisecond

type outcome struct {
	// Succeeded or Failed, with what Argo CD shows beside it.
	Phase   string `json:"phase"`
	Message string `json:"message"`
	// A line for each object that was reached.
	Results []string `json:"results"`
}

// synchronize is one sync of an Application with ServerSideApply=true: waves, dry runs and health are gitops-engine's.
func synchronize(overrides map[string]v1alpha1.ResourceOverride, in io.Reader, out io.Writer) error {
	objects, err := manifests(in)
	if err != nil {
		return err
	}
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig()
	if err != nil {
		return err
	}
	// The cache of a cluster asks for all kinds at once.
	config.QPS, config.Burst = 500, 1000
	live := cache.NewClusterCache(config,
		cache.SetLogr(logr.Discard()),
		cache.SetPopulateResourceInfoHandler(func(object *unstructured.Unstructured, _ bool) (any, bool) {
			managed := object.GetAnnotations()[tracking] != ""
			return managed, managed
		}),
	)
	if err := live.EnsureSynced(); err != nil {
		return err
	}
	defer live.Invalidate()
	answer, err := converge(config, live, objects, lua.ResourceHealthOverrides(overrides))
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(answer)
}

// converge goes on with the sync until it is over, each time with what lives by then, as Argo CD's controller does.
func converge(
	config *rest.Config, live cache.ClusterCache, objects []*unstructured.Unstructured, scripts health.HealthOverride,
) (*outcome, error) {
	var phase common.OperationPhase
	var message string
	var results []common.ResourceSyncResult
	started := metav1.Now()
	kubectl := &kube.KubectlCmd{Log: logr.Discard(), Tracer: tracing.NopTracer{}}
	for !phase.Completed() {
		if time.Since(started.Time) > syncLimit {
			phase, message = common.OperationFailed, "it takes too long: "+message
			break
		}
		state, err := asked(config, live, kubectl, objects)
		if err != nil {
			return nil, err
		}
		syncer, cleanup, err := sync.NewSyncContext("a revision", state, config, config, kubectl, "default", live.GetOpenAPISchema(),
			sync.WithLogr(logr.Discard()),
			sync.WithInitialState(phase, message, results, started),
			sync.WithHealthOverride(scripts),
			sync.WithManifestValidation(true),
			sync.WithServerSideApply(true),
			sync.WithServerSideApplyManager("argocd-controller"))
		if err != nil {
			return nil, err
		}
		syncer.Sync()
		phase, message, results = syncer.GetState()
		cleanup()
		time.Sleep(pause)
	}
	answer := outcome{Phase: string(phase), Message: message, Results: []string{}}
	for _, result := range results {
		answer.Results = append(answer.Results,
			result.ResourceKey.String()+" "+string(result.Status)+" "+string(result.HookPhase)+": "+result.Message)
	}
	return &answer, nil
}

// asked gives what git has and what lives. The cache tells which objects live; how they are is asked for anew, for it may
// be behind, and an object that was just applied would be judged by what it was a moment before.
func asked(
	config *rest.Config, live cache.ClusterCache, kubectl kube.Kubectl, objects []*unstructured.Unstructured,
) (sync.ReconciliationResult, error) {
	managed := func(found *cache.Resource) bool {
		ours, _ := found.Info.(bool)
		return ours
	}
	found, err := live.GetManagedLiveObjs(objects, managed)
	if err != nil {
		return sync.ReconciliationResult{}, err
	}
	state := sync.Reconcile(objects, found, "default", live)
	for place, object := range state.Live {
		if object == nil || state.Target[place] == nil {
			continue
		}
		fresh, err := kubectl.GetResource(
			context.Background(), config, object.GroupVersionKind(), object.GetName(), object.GetNamespace())
		if err != nil {
			return state, err
		}
		state.Live[place] = fresh
	}
	return state, nil
}

func manifests(in io.Reader) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	reader := json.NewDecoder(in)
	for {
		var raw json.RawMessage
		if err := reader.Decode(&raw); errors.Is(err, io.EOF) {
			return objects, nil
		} else if err != nil {
			return nil, err
		}
		object, err := parse(raw)
		if err != nil {
			return nil, err
		}
		annotations := object.GetAnnotations()
		if annotations == nil {
			annotations = map[string]string{}
		}
		annotations[tracking] = "example:" + object.GetKind() + ":" + object.GetName()
		object.SetAnnotations(annotations)
		objects = append(objects, object)
	}
}
