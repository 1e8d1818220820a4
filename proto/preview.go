package proto

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	// previewMark stands in a preview's name between the function's name and what is made
	// of the branch.
	previewMark = "__"
	// maxSlug bounds what is shown of a branch in a name, in bytes.
	maxSlug = 32
	// previewHash is how many hexadecimal digits tell branches apart that look alike.
	previewHash = 6

	// MaxBranch bounds a branch's name in bytes: file systems keep git from longer ones.
	MaxBranch = 255
	// DefaultPreviewTTL is as long as most branches live, and the others are the limits.
	DefaultPreviewTTL            = 7 * 24 * time.Hour
	minPreviewTTL, maxPreviewTTL = time.Second, 365 * 24 * time.Hour
)

// PreviewName returns the name of a function's preview of a branch: HelloWorld__main, or
// HelloWorld__feature_login_5cf2b1 where the branch is more than lower-case letters and
// digits. Then the last part is of the name and the branch, so that two branches share no
// name. It is an ErrInvalid where none can be made.
func PreviewName(name, branch string) (string, error) {
	if err := CheckName(name); err != nil {
		return "", err
	}
	if err := checkBranch(branch); err != nil {
		return "", Errorf(ErrInvalid, "function %s: preview: %w", name, err)
	}
	made := name + previewMark + previewPart(name, branch)
	if CheckName(made) != nil {
		return "", Errorf(ErrInvalid, "function %s: its name is too long for one of a preview, which is %d bytes longer", name, len(made)-len(name)).
			WithHint(`give the preview a shorter name, and the function's as target`)
	}
	return made, nil
}

// AllPreviews stands, after a function's name, for all its previews, where functions are
// named to whom something is allowed.
const AllPreviews = previewMark + "*"

// IsPreview reports whether a name is that of a preview of a function, by its form alone.
func IsPreview(name, of string) bool {
	rest, ok := strings.CutPrefix(Path(name), Path(of)+previewMark)
	return ok && rest != ""
}

// PreviewOf returns the name of the function whose preview of a branch has a name, "" if it
// is not the name of one.
func PreviewOf(name, branch string) string {
	for at := strings.LastIndex(name, previewMark); at > 0; at = strings.LastIndex(name[:at], previewMark) {
		if made, err := PreviewName(name[:at], branch); err == nil && made == name {
			return name[:at]
		}
	}
	return ""
}

// previewPart is what a preview's name has after the mark.
func previewPart(name, branch string) string {
	var b strings.Builder
	plain := true // letters and digits alone, so that nothing else has this part
	for _, c := range branch {
		switch {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
			b.WriteRune(c)
		case 'A' <= c && c <= 'Z':
			b.WriteRune(unicode.ToLower(c))
			plain = false
		default:
			if b.Len() > 0 && !strings.HasSuffix(b.String(), "_") {
				b.WriteByte('_')
			}
			plain = false
		}
	}
	slug := b.String()
	if plain && len(slug) <= maxSlug {
		return slug
	}
	slug = strings.Trim(slug[:min(len(slug), maxSlug)], "_")
	if slug == "" {
		slug = "branch"
	}
	sum := sha256.Sum256([]byte(Path(name) + "\x00" + branch))
	return slug + "_" + hex.EncodeToString(sum[:])[:previewHash]
}

func checkBranch(branch string) error {
	switch {
	case branch == "":
		return fmt.Errorf("the branch is missing")
	case len(branch) > MaxBranch:
		return fmt.Errorf("the branch has more than %d bytes", MaxBranch)
	case !utf8.ValidString(branch) || strings.ContainsFunc(branch, func(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) }):
		return fmt.Errorf("the branch has control characters, or is no UTF-8")
	}
	return nil
}

func (f *FunctionJson) checkPreview() error {
	if f.GetPreview() == "" {
		return nil
	}
	if err := checkBranch(f.GetPreview()); err != nil {
		return f.invalid("preview", "%v", err)
	}
	if PreviewOf(f.GetName(), f.GetPreview()) == "" {
		return f.invalid("preview", "this is not the name of a preview of branch %q", f.GetPreview()).
			WithHint("without preview it is deployed by this name; with it, give the name of the function alone")
	}
	return nil
}

// PreviewAge is how long the preview is kept after its last deploy.
func (f *FunctionJson) PreviewAge() (time.Duration, error) {
	return f.duration("previewTTL", f.GetPreviewTtl(), DefaultPreviewTTL, minPreviewTTL, maxPreviewTTL)
}
