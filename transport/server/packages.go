package server

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"

	"google.golang.org/grpc"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// A package is known by its digest alone, and the store is one for all functions. So a
// caller whose token is for some functions uses only what it has sent, or what its
// functions have: else it would get the files of others by deploying them as its own.

// maxSendings bounds the packages whose senders are remembered.
const maxSendings = 10_000

// sendings are the packages that came with tokens for some functions. The zero value is
// ready for use.
type sendings struct {
	mu   sync.Mutex
	seen map[sending]bool // mu guards it
}

type sending struct{ token, digest string }

func (s *sendings) has(of sending) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen[of]
}

// add remembers who has sent a package. Where there are too many, it forgets any other one,
// which has to be sent again then.
func (s *sendings) add(of sending) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen == nil {
		s.seen = make(map[sending]bool)
	}
	if len(s.seen) >= maxSendings {
		for other := range s.seen {
			delete(s.seen, other)
			break
		}
	}
	s.seen[of] = true
}

// limited returns the id of the caller's token, if that is for some functions.
func limited(ctx context.Context) (token string, yes bool) {
	t := CallerFrom(ctx).Token
	if t == nil || len(t.Functions) == 0 {
		return "", false
	}
	return t.ID, true
}

// has reports whether the caller may use a package that is stored.
func (s *service) has(ctx context.Context, digest string) bool {
	token, yes := limited(ctx)
	return s.store.Has(digest) && (!yes || s.sent.has(sending{token, digest}))
}

// mayUse refuses a function whose package, or program, is not the caller's. A plan reads
// neither.
func (s *service) mayUse(ctx context.Context, fn *proto.FunctionJson) error {
	token, yes := limited(ctx)
	switch {
	case !yes, fn.GetPlan():
		return nil
	case fn.GetProgram() != "":
		return forbidden("function %s: programs are given by proxies; %s is for some functions", fn.GetName(), CallerFrom(ctx).Token).
			WithHint("deploy the package")
	case fn.GetPackage() == "", s.sent.has(sending{token, fn.GetPackage()}):
		return nil
	}
	versions, err := s.impl.Versions(ctx, fn.GetName())
	if err != nil && !errors.Is(err, proto.ErrNotFound) {
		return err
	}
	if slices.ContainsFunc(versions, func(v *proto.Version) bool { return v.GetPackage() == fn.GetPackage() }) {
		return nil
	}
	return forbidden("function %s: %s has not sent the package %.80s", fn.GetName(), CallerFrom(ctx).Token, fn.GetPackage()).
		WithHint("send it first, as proxyCli deploy does")
}

func (s *service) HasPackage(ctx context.Context, req *proto.PackageRef) (*proto.PackageState, error) {
	return &proto.PackageState{Stored: s.has(ctx, req.GetDigest())}, nil
}

func (s *service) Source(req *proto.SourceRequest, stream grpc.ServerStreamingServer[proto.PackageChunk]) error {
	return s.source(stream.Context(), req, func() io.Writer { return wire.NewPackageWriter(stream.Send) })
}

// source writes the package of a version to the writer that begin returns.
func (s *service) source(ctx context.Context, req *proto.SourceRequest, begin func() io.Writer) error {
	if req.GetName() == "" {
		return proto.CheckName("")
	}
	file, err := s.impl.Source(ctx, req.GetName(), req.GetVersion())
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = io.CopyBuffer(begin(), struct{ io.Reader }{file}, make([]byte, wire.ChunkSize))
	return err
}

func (s *service) Upload(stream grpc.ClientStreamingServer[proto.PackageChunk, proto.PackageRef]) error {
	next := gated(stream.Context(), stream.Recv)
	first, err := next()
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	ref, err := s.put(stream.Context(), first.GetDigest(), wire.NewChunkReader(first, next))
	if err != nil {
		return err
	}
	return stream.SendAndClose(ref)
}

// put stores what r holds as the package with a digest. It reads nothing when the caller
// may use one that is stored already.
func (s *service) put(ctx context.Context, digest string, r io.Reader) (*proto.PackageRef, error) {
	if digest == "" {
		return nil, proto.Errorf(proto.ErrInvalid, "the package's digest is missing")
	}
	if !s.has(ctx, digest) {
		if _, err := s.receive(ctx, digest, r); err != nil {
			return nil, err
		}
	}
	ref := &proto.PackageRef{Digest: digest}
	deedOf(ctx).note(ref)
	return ref, nil
}

// receive stores what r holds as a package, which the caller may use from then on. Whoever
// may not use all that is stored must send it whole. digest may be empty.
func (s *service) receive(ctx context.Context, digest string, r io.Reader) (string, error) {
	token, yes := limited(ctx)
	expected := digest
	if yes {
		expected = ""
	}
	stored, err := s.store.Put(ctx, expected, r)
	switch {
	case err != nil:
		return "", err
	case digest != "" && stored.Digest != digest:
		return "", proto.Errorf(proto.ErrInvalid, "what was sent has the digest %s, not %.80s", stored.Digest, digest)
	case yes:
		s.sent.add(sending{token, stored.Digest})
	}
	return stored.Digest, nil
}
