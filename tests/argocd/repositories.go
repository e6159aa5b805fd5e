package main

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"google.golang.org/grpc"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/argoproj/argo-cd/v3/reposerver/apiclient"
	"github.com/argoproj/argo-cd/v3/reposerver/repository"
	"github.com/argoproj/argo-cd/v3/util/git"
	utilio "github.com/argoproj/argo-cd/v3/util/io"
)

// folders stand for the repositories of these addresses: there is no git here.
type folders map[string]string

// parseFolders reads ADDRESS=FOLDER.
func parseFolders(args []string) (folders, error) {
	found := folders{}
	for _, arg := range args {
		address, folder, ok := strings.Cut(arg, "=")
		if !ok {
			return nil, fmt.Errorf("%s: ADDRESS=FOLDER is wanted", arg)
		}
		found[address] = folder
	}
	return found, nil
}

// NewRepoServerClient is what the controller asks for a connection to Argo CD's repo server.
func (found folders) NewRepoServerClient() (utilio.Closer, apiclient.RepoServerServiceClient, error) {
	return utilio.NopCloser, server{folders: found}, nil
}

// server answers by the code of the repo server, but for what has to do with git. Nothing else is asked.
type server struct {
	apiclient.RepoServerServiceClient
	folders folders
}

// GenerateManifest gives what Helm renders, or what the files of a folder hold.
func (server server) GenerateManifest(
	ctx context.Context, asked *apiclient.ManifestRequest, _ ...grpc.CallOption,
) (*apiclient.ManifestResponse, error) {
	root, ok := server.folders[asked.Repo.Repo]
	if !ok {
		return nil, fmt.Errorf("there is no repository %s", asked.Repo.Repo)
	}
	folder := filepath.Join(root, asked.ApplicationSource.Path)
	revision, err := digest(folder)
	if err != nil {
		return nil, err
	}
	most := resource.MustParse("10M")
	answer, err := repository.GenerateManifests(
		ctx, folder, root, revision, asked, false, git.NoopCredsStore{}, most, utilio.NewRandomizedTempPaths(root))
	if err != nil {
		return nil, err
	}
	answer.Revision = revision
	return answer, nil
}

// digest is what stands for a commit.
func digest(folder string) (string, error) {
	sum := sha1.New()
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		fmt.Fprintf(sum, "%s %d\n", path, len(content))
		_, err = sum.Write(content)
		return err
	})
	return hex.EncodeToString(sum.Sum(nil)), err
}
