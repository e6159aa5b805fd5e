// kstatus reads Kubernetes objects as JSON on standard input, and writes for each a line of JSON with what
// github.com/fluxcd/cli-utils/pkg/kstatus makes of it: the code by which Helm 4 and Flux wait.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

type verdict struct {
	Status  status.Status `json:"status"`
	Message string        `json:"message"`
}

func main() {
	if err := judge(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "kstatus:", err)
		os.Exit(1)
	}
}

func judge(objects io.Reader, verdicts io.Writer) error {
	in, out := json.NewDecoder(objects), json.NewEncoder(verdicts)
	for {
		var raw json.RawMessage
		if err := in.Decode(&raw); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		// Not by encoding/json: kstatus wants whole numbers as int64.
		var object unstructured.Unstructured
		if err := object.UnmarshalJSON(raw); err != nil {
			return err
		}
		result, err := status.Compute(&object)
		if err != nil {
			return err
		}
		if err := out.Encode(verdict{result.Status, result.Message}); err != nil {
			return err
		}
	}
}
