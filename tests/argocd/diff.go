package main

import (
	"context"
	"encoding/json"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/argoproj/gitops-engine/pkg/diff"
)

type difference struct {
	OutOfSync bool            `json:"outOfSync"`
	Live      json.RawMessage `json:"live"`
	Wanted    json.RawMessage `json:"wanted"`
}

// predicted answers as the API server has answered a dry run.
type predicted string

func (answer predicted) Run(context.Context, *unstructured.Unstructured, string) (string, error) {
	return string(answer), nil
}

// compare holds what lives against what git has, by the client-side comparison, or with a prediction by the server-side
// one. Nothing that a webhook changed is left out of the latter: there is none.
func compare(git, live json.RawMessage, prediction string) (*difference, error) {
	wanted, err := parse(git)
	if err != nil {
		return nil, err
	}
	found, err := parse(live)
	if err != nil {
		return nil, err
	}
	options := []diff.Option{diff.WithLogr(logr.Discard()), diff.WithNormalizer(diff.GetNoopNormalizer())}
	if prediction != "" {
		options = append(options,
			diff.WithServerSideDiff(true),
			diff.WithServerSideDryRunner(predicted(prediction)),
			diff.WithManager("argocd-controller"),
			diff.WithIgnoreMutationWebhook(false))
	}
	result, err := diff.Diff(wanted, found, options...)
	if err != nil {
		return nil, err
	}
	return &difference{result.Modified, result.NormalizedLive, result.PredictedLive}, nil
}
