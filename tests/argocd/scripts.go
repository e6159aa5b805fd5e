package main

import (
	"encoding/json"
	"fmt"

	jsonpatch "github.com/evanphx/json-patch"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/argoproj/argo-cd/v3/pkg/apis/application/v1alpha1"
	"github.com/argoproj/argo-cd/v3/util/lua"
	"github.com/argoproj/gitops-engine/pkg/health"
)

type verdict struct {
	// What Argo CD shows.
	Health *health.HealthStatus `json:"health"`
	// What the script says, which Argo CD does not ask about an object that is being deleted.
	Script *health.HealthStatus `json:"script"`
	// The actions, and whether each can be run now.
	Actions map[string]bool `json:"actions"`
}

func parse(raw json.RawMessage) (*unstructured.Unstructured, error) {
	// Not by encoding/json: whole numbers are int64, as Argo CD has them.
	var object unstructured.Unstructured
	return &object, object.UnmarshalJSON(raw)
}

func judge(overrides map[string]v1alpha1.ResourceOverride, raw json.RawMessage) (*verdict, error) {
	object, err := parse(raw)
	if err != nil {
		return nil, err
	}
	scripts := lua.ResourceHealthOverrides(overrides)
	shown, err := health.GetResourceHealth(object, scripts)
	if err != nil {
		return nil, err
	}
	script, err := scripts.GetResourceHealth(object)
	if err != nil {
		return nil, err
	}
	answer := verdict{Health: shown, Script: script, Actions: map[string]bool{}}
	vm := lua.VM{ResourceOverrides: overrides}
	discovery, err := vm.GetResourceActionDiscovery(object)
	if err != nil || len(discovery) == 0 {
		return &answer, err
	}
	actions, err := vm.ExecuteResourceActionDiscovery(object, discovery)
	for _, action := range actions {
		answer.Actions[action.Name] = !action.Disabled
	}
	return &answer, err
}

// act gives the merge patch that Argo CD's server sends for an action.
func act(overrides map[string]v1alpha1.ResourceOverride, raw json.RawMessage, name string) (json.RawMessage, error) {
	object, err := parse(raw)
	if err != nil {
		return nil, err
	}
	before, err := json.Marshal(object)
	if err != nil {
		return nil, err
	}
	vm := lua.VM{ResourceOverrides: overrides}
	action, err := vm.GetResourceAction(object, name)
	if err != nil {
		return nil, err
	}
	impacted, err := vm.ExecuteResourceAction(object, action.ActionLua, nil)
	if err != nil {
		return nil, err
	}
	if len(impacted) != 1 || impacted[0].K8SOperation != lua.PatchOperation {
		return nil, fmt.Errorf("the action %s does not change the one object", name)
	}
	after, err := json.Marshal(impacted[0].UnstructuredObj)
	if err != nil {
		return nil, err
	}
	return jsonpatch.CreateMergePatch(before, after)
}
