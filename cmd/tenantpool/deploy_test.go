package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/web"
)

// fileOf is a file of the repository.
func fileOf(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// asDocker reads an environment file as docker run --env-file does: all behind the first
// = is the value.
func asDocker(text string) map[string]string {
	set := map[string]string{}
	for line := range strings.Lines(text) {
		line = strings.TrimLeft(strings.TrimSuffix(line, "\n"), " \t")
		if name, value, ok := strings.Cut(line, "="); ok && !strings.HasPrefix(line, "#") {
			set[name] = value
		}
	}
	return set
}

// asSystemd reads one as EnvironmentFile= does, as far as it goes without backslashes:
// quotes and the space around a value are not part of it.
func asSystemd(text string) map[string]string {
	set := map[string]string{}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if name, value, ok := strings.Cut(line, "="); ok && !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, ";") {
			set[strings.TrimSpace(name)] = strings.Trim(strings.TrimSpace(value), `"'`)
		}
	}
	return set
}

// commentedOut are the lines that are to be uncommented, made so.
var commentedOut = regexp.MustCompile(`(?m)^# ([A-Z][A-Z_]*=)`)

func TestDockerAndSystemdReadTheSameInTheExampleEnvironment(t *testing.T) {
	text := fileOf(t, "env.example")
	if !maps.Equal(asDocker(text), asSystemd(text)) {
		t.Errorf("docker reads\n%q\nsystemd reads\n%q", asDocker(text), asSystemd(text))
	}
	all := commentedOut.ReplaceAllString(text, "$1")
	if !maps.Equal(asDocker(all), asSystemd(all)) || strings.Contains(all, `\`) {
		t.Errorf("uncommented, docker reads\n%q\nsystemd reads\n%q", asDocker(all), asSystemd(all))
	}
	// The program takes it, too: what is wrong is the address, which comes later.
	for name, value := range asDocker(all) {
		if !strings.HasSuffix(name, "_FILE") && name != revocationsVariable { // those files are not here
			t.Setenv(name, value)
		}
	}
	t.Setenv("PASETO_PUBLIC_KEY", web.NewPrivateKey().Public().String())
	if status, _, stderr := called(t, "serve", "--addr", "127.0.0.1:http2"); status != 1 || !strings.Contains(whyEnded(t, stderr), "listen tcp: lookup tcp/http2") {
		t.Errorf("exit status %d: %s", status, stderr)
	}
}

// variablesOfServe are all that the program reads, by its source.
func variablesOfServe(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	var source strings.Builder
	for _, file := range files {
		if !strings.HasSuffix(file, "_test.go") && file != "capacity.go" { // which asks a server, with a token
			source.WriteString(fileOf(t, filepath.Join("cmd", "tenantpool", file)))
		}
	}
	var names []string
	constants := map[string]string{}
	for _, found := range regexp.MustCompile(`(?m)^\s*(?:const )?(\w+Variable)\s*= "([A-Z_]+)"`).FindAllStringSubmatch(source.String(), -1) {
		constants[found[1]] = found[2]
		names = append(names, found[2])
	}
	secrets := 0
	for _, found := range regexp.MustCompile(`secret\.FromEnv\((\w+)\)`).FindAllStringSubmatch(source.String(), -1) {
		names = append(names, constants[found[1]]+"_FILE")
		secrets++
	}
	config := reflect.TypeFor[model.Config]()
	for i := range config.NumField() {
		if name := config.Field(i).Tag.Get("env"); name != "" {
			names = append(names, name)
		}
	}
	if len(names) < 30 || secrets != 4 {
		t.Fatalf("%d secrets, and %q", secrets, names)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func TestEveryVariableIsDescribedAndEveryOneDescribedIsRead(t *testing.T) {
	example := asDocker(commentedOut.ReplaceAllString(fileOf(t, "env.example"), "$1"))
	page, compose := fileOf(t, "docs/configuration.md"), fileOf(t, "compose.yaml")
	read := variablesOfServe(t)
	for _, name := range read {
		if _, ok := example[name]; !ok {
			t.Errorf("%s is not in env.example", name)
		}
		if !strings.Contains(page, "`"+name+"`") {
			t.Errorf("%s is not in docs/configuration.md", name)
		}
	}
	interpolated := map[string]bool{}
	for _, found := range regexp.MustCompile(`[^$]\$\{([A-Z_]+)`).FindAllStringSubmatch(compose, -1) {
		interpolated[found[1]] = true
		if _, ok := example[found[1]]; !ok {
			t.Errorf("compose.yaml: %s is not in env.example", found[1])
		}
	}
	for name := range example {
		if !slices.Contains(read, name) && !interpolated[name] {
			t.Errorf("env.example: nobody reads %s", name)
		}
	}
}

type composed struct {
	Services map[string]struct {
		Image       string
		Environment map[string]any
		Secrets     []string
		Volumes     []string
		Ports       []string
		MemLimit    string `yaml:"mem_limit"`
		PidsLimit   int    `yaml:"pids_limit"`
		ReadOnly    bool   `yaml:"read_only"`
	}
	Secrets map[string]struct{ File, Environment string }
}

func TestComposeHidesItsSecretsAndBoundsEverybody(t *testing.T) {
	var compose composed
	if err := yaml.Unmarshal([]byte(fileOf(t, "compose.yaml")), &compose); err != nil {
		t.Fatal(err)
	}
	if len(compose.Services) != 4 || len(compose.Secrets) != 3 {
		t.Fatalf("%+v", compose)
	}
	known := variablesOfServe(t)
	for name, service := range compose.Services {
		if service.MemLimit == "" || service.PidsLimit == 0 {
			t.Errorf("%s may take all memory or all processes", name)
		}
		for _, port := range service.Ports {
			if !strings.HasPrefix(port, "127.0.0.1:") {
				t.Errorf("%s: %s is published to everybody", name, port)
			}
		}
		for _, used := range service.Secrets {
			if file := compose.Secrets[used].File; !strings.HasPrefix(file, "./secrets/") {
				t.Errorf("%s: of %s the file is %q", name, used, file)
			}
		}
		for variable, value := range service.Environment {
			text, _ := value.(string)
			file := strings.HasSuffix(variable, "_FILE")
			if secret := regexp.MustCompile(`PASSWORD|METRICS_TOKEN|PRIVATE_KEY`).MatchString(variable); secret && !file {
				t.Errorf("%s: %s shows a secret to whoever inspects the container", name, variable)
			}
			mounted, ok := strings.CutPrefix(text, "/run/secrets/")
			if file && (!ok || !slices.Contains(service.Secrets, mounted)) && !slices.Contains(service.Volumes, "./secrets/tenantpool:"+path.Dir(text)+":ro") {
				t.Errorf("%s: %s is %q, which is not mounted", name, variable, value)
			}
			if name == "tenantpool" && variable != "GOMEMLIMIT" && !slices.Contains(known, variable) {
				t.Errorf("tenantpool does not read %s", variable)
			}
		}
	}
	for _, variable := range known { // what .env sets reaches the program
		_, set := compose.Services["tenantpool"].Environment[variable]
		_, asFile := compose.Services["tenantpool"].Environment[variable+"_FILE"]
		ofAFile := strings.HasSuffix(variable, "_FILE") // which would have to be mounted
		if !set && !asFile && !ofAFile && variable != privateKeyVariable && variable != adminPasswordVariable {
			t.Errorf("compose.yaml keeps %s from the program", variable)
		}
	}
	if ignored := fileOf(t, ".gitignore") + fileOf(t, ".dockerignore"); len(regexp.MustCompile(`(?m)^/?secrets/?$`).FindAllString(ignored, -1)) != 2 {
		t.Error("the folder secrets would be committed, or sent to the image's builder")
	}
}

func TestTheSystemdUnitIsSound(t *testing.T) {
	unit := fileOf(t, filepath.Join("deploy", "tenantpool.service"))
	known := variablesOfServe(t)
	for _, found := range regexp.MustCompile(`(?m)^Environment=([A-Z_]+)=(\S+)$`).FindAllStringSubmatch(unit, -1) {
		if found[1] != "GOMEMLIMIT" && !slices.Contains(known, found[1]) {
			t.Errorf("the program does not read %s", found[1])
		}
		if strings.HasSuffix(found[1], "_FILE") && path.Dir(found[2]) != "/run/tenantpool" {
			t.Errorf("%s is %s, which a reload does not see change", found[1], found[2])
		}
	}
	if !strings.Contains(unit, "\nExecReload=/bin/kill -HUP $MAINPID\n") {
		t.Error("systemctl reload does nothing")
	}
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not installed: systemd itself does not check the unit")
	}
	// The program need not be installed here.
	file := filepath.Join(t.TempDir(), "tenantpool.service")
	if err := os.WriteFile(file, []byte(strings.Replace(unit, "/usr/local/bin/tenantpool", os.Args[0], 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	// It looks at the units of this machine, too, which are none of ours.
	if said, err := exec.Command(analyze, "verify", "--man=no", file).CombinedOutput(); err != nil || strings.Contains(string(said), "tenantpool.service") {
		t.Errorf("%v: %s", err, said)
	}
	// The exposure level is in tenths: 0 is none, 100 is that of an ordinary service.
	if said, err := exec.Command(analyze, "security", "--offline=true", "--threshold=20", file).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, said)
	}
}

func TestTheKubernetesManifestIsSound(t *testing.T) {
	type probe struct {
		HTTPGet struct{ Path, Port string } `yaml:"httpGet"`
	}
	type object struct {
		Kind string
		Spec struct {
			Strategy struct{ Type string }
			Template struct {
				Spec struct {
					AutomountServiceAccountToken  *bool `yaml:"automountServiceAccountToken"`
					EnableServiceLinks            *bool `yaml:"enableServiceLinks"`
					TerminationGracePeriodSeconds int   `yaml:"terminationGracePeriodSeconds"`
					SecurityContext               struct {
						RunAsNonRoot bool `yaml:"runAsNonRoot"`
					} `yaml:"securityContext"`
					Containers []struct {
						Env []struct {
							Name, Value string
							ValueFrom   struct {
								FieldRef struct {
									FieldPath string `yaml:"fieldPath"`
								} `yaml:"fieldRef"`
							} `yaml:"valueFrom"`
						}
						LivenessProbe  probe `yaml:"livenessProbe"`
						ReadinessProbe probe `yaml:"readinessProbe"`
						StartupProbe   probe `yaml:"startupProbe"`
						Lifecycle      struct {
							PreStop any `yaml:"preStop"`
						}
						Resources       struct{ Requests, Limits map[string]string }
						SecurityContext struct {
							AllowPrivilegeEscalation *bool `yaml:"allowPrivilegeEscalation"`
							ReadOnlyRootFilesystem   bool  `yaml:"readOnlyRootFilesystem"`
							Capabilities             struct{ Drop []string }
						} `yaml:"securityContext"`
						VolumeMounts []struct {
							Name      string
							MountPath string `yaml:"mountPath"`
							SubPath   string `yaml:"subPath"`
						} `yaml:"volumeMounts"`
					}
					Volumes []struct {
						Name   string
						Secret struct {
							SecretName string `yaml:"secretName"`
						}
						ConfigMap struct{ Name string } `yaml:"configMap"`
					}
				}
			}
		}
	}
	var objects []object
	decoder := yaml.NewDecoder(strings.NewReader(fileOf(t, filepath.Join("deploy", "kubernetes.yaml"))))
	for {
		var o object
		if err := decoder.Decode(&o); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		objects = append(objects, o)
	}
	if len(objects) != 2 || objects[0].Kind != "Deployment" || objects[1].Kind != "Service" {
		t.Fatalf("%+v", objects)
	}
	pod := objects[0].Spec.Template.Spec
	c := pod.Containers[0]
	if *pod.AutomountServiceAccountToken || *pod.EnableServiceLinks || !pod.SecurityContext.RunAsNonRoot || *c.SecurityContext.AllowPrivilegeEscalation ||
		!c.SecurityContext.ReadOnlyRootFilesystem || !slices.Equal(c.SecurityContext.Capabilities.Drop, []string{"ALL"}) {
		t.Errorf("it may more than it needs: %+v", pod)
	}
	if c.LivenessProbe.HTTPGet.Path != "/healthz" || c.StartupProbe.HTTPGet.Path != "/healthz" || c.ReadinessProbe.HTTPGet.Path != "/readyz" {
		t.Errorf("probes: %+v", c)
	}
	if c.Lifecycle.PreStop == nil || pod.TerminationGracePeriodSeconds < 60 || c.Resources.Limits["memory"] == "" || c.Resources.Requests["memory"] == "" {
		t.Errorf("%+v", pod)
	}
	known, instance := variablesOfServe(t), ""
	for _, variable := range c.Env {
		if variable.Name == instanceVariable {
			instance = variable.ValueFrom.FieldRef.FieldPath
		}
		if variable.Name != "GOMEMLIMIT" && !slices.Contains(known, variable.Name) {
			t.Errorf("the program does not read %s", variable.Name)
		}
		if strings.HasSuffix(variable.Name, "_FILE") && !strings.HasPrefix(variable.Value, c.VolumeMounts[0].MountPath+"/") {
			t.Errorf("%s is %s, which is not mounted", variable.Name, variable.Value)
		}
		if slices.Contains(known, variable.Name+"_FILE") {
			t.Errorf("%s is a secret, and stands in the manifest", variable.Name)
		}
	}
	if instance != "metadata.name" {
		t.Errorf("%s is from %q, so a container does not know what one before it in the pod has left", instanceVariable, instance)
	}
	if c.VolumeMounts[0].Name != pod.Volumes[0].Name || pod.Volumes[0].Secret.SecretName == "" {
		t.Errorf("%+v", pod.Volumes)
	}
	// The ConfigMap is no object of the manifest, which would take back all revocations.
	if c.VolumeMounts[1].Name != pod.Volumes[1].Name || pod.Volumes[1].ConfigMap.Name == "" || c.VolumeMounts[1].SubPath != "" {
		t.Errorf("of the revocations: %+v, %+v", c.VolumeMounts, pod.Volumes)
	}
}

// Whoever follows the section "A token was stolen" must not find that the list of
// revocations has to be set up first.
func TestTokensCanBeRevokedWhereverItIsDeployed(t *testing.T) {
	for file, want := range map[string][]string{
		"compose.yaml": {
			"      TENANTPOOL_REVOCATIONS: /run/tenantpool/revoked\n",
			"      - ./secrets/tenantpool:/run/tenantpool:ro\n", // the folder: mv is seen
			"#   touch secrets/tenantpool/revoked ",
		},
		"deploy/tenantpool.service": {
			"\nEnvironment=TENANTPOOL_REVOCATIONS=/run/tenantpool/revoked\n",
			"\nBindReadOnlyPaths=/etc/tenantpool/files:/run/tenantpool\n",
			"#   touch revoked ",
		},
		"deploy/kubernetes.yaml": {
			"            - {name: TENANTPOOL_REVOCATIONS, value: /run/tenantpool/revoked}\n",
			"            - {name: revoked, mountPath: /run/tenantpool, readOnly: true}\n",
			"#   touch revoked && kubectl create configmap tenantpool-revoked --from-file=revoked\n",
		},
	} {
		for _, line := range want {
			if !strings.Contains(fileOf(t, file), line) {
				t.Errorf("%s lacks %q", file, line)
			}
		}
	}
}

// What stops the program waits for the longest that it may take.
func TestWhatStopsServeWaitsForIt(t *testing.T) {
	const delay = 20 * time.Second // there is room for one
	for file, before := range map[string]time.Duration{"compose.yaml": 0, "deploy/tenantpool.service": 0, "deploy/kubernetes.yaml": 5 * time.Second} {
		text, takes := fileOf(t, file), before+requestsWithin+drainWithin
		waits := regexp.MustCompile(`(?m)^\s*(?:stop_grace_period: |TimeoutStopSec=|terminationGracePeriodSeconds: )(\d+)`).FindStringSubmatch(text)
		if waits == nil {
			t.Fatalf("%s does not say how long it waits", file)
		}
		if d, err := time.ParseDuration(waits[1] + "s"); err != nil || d <= takes+delay {
			t.Errorf("%s waits for %v, and %v are needed", file, d, takes+delay)
		}
		if sum := fmt.Sprintf(" = %.0f s", takes.Seconds()); !strings.Contains(text, sum) {
			t.Errorf("%s does not say that it takes %q", file, sum)
		}
	}
}

// A body full of small arguments takes 12 MiB (see web's memory test), and a subject may
// not take all turns.
func TestTheStatementsUnderWayFitIntoTheMemory(t *testing.T) {
	for file, memory := range map[string]string{
		"compose.yaml":              "mem_limit: 500m",
		"deploy/kubernetes.yaml":    "memory: 500Mi",
		"deploy/tenantpool.service": "MemoryMax=500M",
	} {
		text := fileOf(t, file)
		if !strings.Contains(text, memory) {
			t.Errorf("%s: no longer %s", file, memory)
		}
		for variable, want := range map[string]string{queriesVariable: "30", ownQueriesVariable: "15"} {
			set := regexp.MustCompile(variable + `(?:=|: |, value: )(?:"|\$\{` + variable + `:-)?([0-9]+)`).FindStringSubmatch(text)
			if set == nil || set[1] != want {
				t.Errorf("%s: %s is %q, want %s", file, variable, set, want)
			}
		}
	}
}

// A command line is seen by everybody on the machine.
func TestNoCommandInTheDocumentationHoldsASecret(t *testing.T) {
	bad := regexp.MustCompile(`(-H|--header)[ ="']*Authorization|(-e|--env|env) [A-Z_]*(PASSWORD|TOKEN|PRIVATE_KEY)=|--(password|token)[ =]|postgres(ql)?://[^/@ ]+:[^@ ]+@|from-literal`)
	for _, file := range []string{"README.md", "SECURITY.md", "docs/configuration.md", "docs/http-api.md", "docs/operations.md", "compose.yaml", "Dockerfile", "env.example", "deploy/tenantpool.service", "deploy/kubernetes.yaml"} {
		for line := range strings.Lines(fileOf(t, file)) {
			if bad.MatchString(line) {
				t.Errorf("%s: %s", file, line)
			}
		}
	}
}
