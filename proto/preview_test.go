package proto

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPreviewsHaveNamesThatSayWhatTheyAre(t *testing.T) {
	for branch, want := range map[string]string{
		"main":                        "Greet__main",
		"fix12":                       "Greet__fix12",
		"feature/login":               "Greet__feature_login_029aa3",
		"Feature/Login":               "Greet__feature_login_",
		"feature_login":               "Greet__feature_login_",
		"feature/login_029aa3":        "Greet__feature_login_029aa3_",
		"//":                          "Greet__branch_",
		"größe":                       "Greet__gr_e_",
		"分支":                          "Greet__branch_",
		strings.Repeat("a", 200):      "Greet__" + strings.Repeat("a", maxSlug) + "_",
		"dependabot/npm/x-1.2.3":      "Greet__dependabot_npm_x_1_2_3_",
		"a" + strings.Repeat("/", 90): "Greet__a_",
	} {
		got, err := PreviewName("Greet", branch)
		require.NoError(t, err, branch)
		assert.True(t, strings.HasPrefix(got, want), "%s: %s", branch, got)
		assert.NoError(t, CheckName(got))
		assert.Equal(t, "Greet", PreviewOf(got, branch))
		assert.True(t, IsPreview(got, "greet"))
	}
	for _, branch := range []string{"", "a\nb", strings.Repeat("a", MaxBranch+1), "\xff"} {
		_, err := PreviewName("Greet", branch)
		assert.ErrorIs(t, err, ErrInvalid, "%q", branch)
	}
	_, err := PreviewName(strings.Repeat("A", MaxName-4), "main")
	assert.ErrorIs(t, err, ErrInvalid)
	assert.Empty(t, PreviewOf("Greet", "main"))
	assert.Empty(t, PreviewOf("Greet__other", "main"))
	assert.False(t, IsPreview("Greet", "Greet"))
	assert.False(t, IsPreview("Greeter__main", "Greet"))
}

func TestNoTwoBranchesShareAName(t *testing.T) {
	branches := []string{"a", "A", "a_b", "a-b", "a/b", "A/B", "a.b", "a__b", "_a", "a_", "b"}
	seen := map[string]string{}
	for _, of := range []string{"F", "F_a", "F__a"} {
		for _, branch := range branches {
			name, err := PreviewName(of, branch)
			require.NoError(t, err)
			assert.Empty(t, seen[Path(name)], "%s of %s", branch, of)
			seen[Path(name)] = of + " " + branch
		}
	}
}

func TestAPreviewGetsItsNameOnce(t *testing.T) {
	fn := &FunctionJson{Name: "Greet", Preview: "feature/login"}
	fn.Complete()
	assert.Equal(t, "Greet", fn.GetTarget())
	first := fn.GetName()
	assert.Equal(t, "Greet", PreviewOf(first, "feature/login"))
	require.NoError(t, fn.Check())
	fn.Complete()
	assert.Equal(t, first, fn.GetName())

	declared := &FunctionJson{Target: "blur-images", Preview: "main"}
	declared.Complete()
	assert.Equal(t, []string{"BlurImages__main", "blur-images"}, []string{declared.GetName(), declared.GetTarget()})

	assert.ErrorIs(t, (&FunctionJson{Name: "Greet", Preview: "main"}).Check(), ErrInvalid, "the name is not the preview's")
	for text, want := range map[string]time.Duration{"": 7 * 24 * time.Hour, "36h": 36 * time.Hour} {
		fn.PreviewTtl = text
		age, err := fn.PreviewAge()
		require.NoError(t, err)
		assert.Equal(t, want, age)
	}
	fn.PreviewTtl = "0"
	assert.ErrorIs(t, fn.Check(), ErrInvalid)
}

func FuzzPreviewName(f *testing.F) {
	for _, seed := range []string{"main", "feature/login", "A__b", "größe", ""} {
		f.Add("Greet", seed)
	}
	f.Fuzz(func(t *testing.T, of, branch string) {
		name, err := PreviewName(of, branch)
		if err != nil {
			return
		}
		if CheckName(name) != nil || !IsPreview(name, of) || PreviewOf(name, branch) == "" {
			t.Errorf("%q of %q is %q, a preview of %q", branch, of, name, PreviewOf(name, branch))
		}
	})
}
