// argocd says what Argo CD makes of objects, by Argo CD's own code:
//
//	argocd ask FILE                    answers requests, one JSON value each on standard input, with one line of JSON
//	                                   each; FILE is an argocd-cm.yaml, whose scripts are run
//	argocd control ADDRESS=FOLDER ...  is the application controller for the cluster of $KUBECONFIG, until it is killed;
//	                                   each folder stands for the repository of that address
//
// It is used by the tests in tests/it/argocd.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/sirupsen/logrus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/klog/v2"
	"sigs.k8s.io/yaml"

	"github.com/argoproj/argo-cd/v3/pkg/apis/application/v1alpha1"
	"github.com/argoproj/argo-cd/v3/util/settings"
)

// namespace is where Argo CD has its settings.
const namespace = "argocd"

// A request has one of these keys beside what it is about.
type request struct {
	// The health of this object, what its script alone says, and the actions that are offered for it.
	Judge json.RawMessage `json:"judge"`
	// What the action of this name would change in this object.
	Run    json.RawMessage `json:"run"`
	Action string          `json:"action"`
	// Whether this object is out of sync with what git has: with `predicted`, the answer of a dry run, by the server-side
	// comparison.
	Compare   json.RawMessage `json:"compare"`
	Git       json.RawMessage `json:"git"`
	Predicted string          `json:"predicted"`
	// The Application that this YAML is; unknown fields are an error.
	Application string `json:"application"`
}

func main() {
	logrus.SetOutput(io.Discard)
	klog.SetOutput(io.Discard)
	klog.LogToStderr(false)
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "argocd:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 2 && args[0] == "ask":
		return converse(args[1])
	case len(args) > 0 && args[0] == "control":
		repositories, err := parseFolders(args[1:])
		if err != nil {
			return err
		}
		return control(repositories)
	}
	return errors.New("neither `ask FILE` nor `control ADDRESS=FOLDER ...`")
}

func converse(path string) error {
	overrides, err := readOverrides(path)
	if err != nil {
		return err
	}
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		var asked request
		if err := in.Decode(&asked); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		answer, err := respond(overrides, asked)
		if err != nil {
			answer = map[string]string{"error": err.Error()}
		}
		if err := out.Encode(answer); err != nil {
			return err
		}
	}
}

func respond(overrides map[string]v1alpha1.ResourceOverride, asked request) (any, error) {
	switch {
	case asked.Judge != nil:
		return judge(overrides, asked.Judge)
	case asked.Run != nil:
		return act(overrides, asked.Run, asked.Action)
	case asked.Compare != nil:
		return compare(asked.Git, asked.Compare, asked.Predicted)
	case asked.Application != "":
		var application v1alpha1.Application
		return &application, yaml.UnmarshalStrict([]byte(asked.Application), &application)
	}
	return nil, errors.New("nothing is asked")
}

// readOverrides reads the customizations as Argo CD does: off a ConfigMap in its namespace.
func readOverrides(path string) (map[string]v1alpha1.ResourceOverride, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var config corev1.ConfigMap
	if err := yaml.UnmarshalStrict(text, &config); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	config.Namespace = namespace
	secret := corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "argocd-secret", Namespace: config.Namespace}}
	cluster := fake.NewClientset(&config, &secret)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	return settings.NewSettingsManager(ctx, cluster, config.Namespace).GetResourceOverrides()
}
