//! What a person sees when a build cannot be done: one line that names the object, and nothing half-written.

#![expect(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use iso_builder::lock::{Archive, Lock};

/// A copy of what makes a checkout, with a cache of its own, so that no test sees another build's.
struct Checkout(tempfile::TempDir);

impl Checkout {
    fn new() -> Self {
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("rootfs")).unwrap();
        fs::create_dir_all(folder.path().join("kernel-config")).unwrap();
        for file in ["rootfs/image.toml", "rootfs/compiled.toml", "boot2docker.lock"] {
            fs::copy(here.join(file), folder.path().join(file)).unwrap();
        }
        Self(folder)
    }

    /// Copies one more folder of the real checkout.
    fn with_folder(self, name: &str) -> Self {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(name);
        fs::create_dir_all(self.path(name)).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_file() {
                fs::copy(entry.path(), self.path(name).join(entry.file_name())).unwrap();
            }
        }
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_iso-builder"));
        command.args(arguments).current_dir(self.0.path());
        command
    }

    /// Runs what must fail with an empty cache; returns the last line of its words.
    fn refuse(&self, arguments: &[&str]) -> String {
        self.refused(&self.command(arguments).env("BOOT2DOCKER_CACHE", self.path("cache")).output().unwrap())
    }

    fn refused(&self, output: &Output) -> String {
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{words}");
        assert!(!self.path("target/boot2docker.iso").exists());
        let last = words.lines().last().unwrap_or_default().to_owned();
        assert!(last.starts_with("iso-builder: "), "{words}");
        last
    }
}

#[test]
fn an_unknown_key_is_named_with_file_line_and_the_allowed_keys() {
    let checkout = Checkout::new();
    fs::write(checkout.path("my.toml"), "[tools]\nsource = \"x\"\n").unwrap();
    let line = checkout.refuse(&["--config", "my.toml"]);
    assert_eq!(line, "iso-builder: my.toml:2: unknown field `source`, expected `packages`");
}

#[test]
fn a_program_to_compile_in_an_unknown_group_is_named() {
    let checkout = Checkout::new();
    let recipe = fs::read_to_string(checkout.path("rootfs/compiled.toml")).unwrap();
    let typo = recipe.replace("group = \"curl\"", "group = \"crul\"");
    fs::write(checkout.path("rootfs/compiled.toml"), typo).unwrap();
    let line = checkout.refuse(&[]);
    assert!(
        line.ends_with("rootfs/compiled.toml: `curl` is in group `crul`, which image.toml lacks"),
        "{line}"
    );
}

#[test]
fn an_unknown_group_is_named_with_the_file() {
    let checkout = Checkout::new();
    fs::write(checkout.path("my.toml"), "[image]\ngroups = [\"no-such\"]\n").unwrap();
    let line = checkout.refuse(&["--config", "my.toml"]);
    assert!(line.starts_with("iso-builder: my.toml: image.groups has `no-such`, allowed are "), "{line}");
}

#[test]
fn an_output_that_cannot_be_written_is_refused_before_any_work() {
    let checkout = Checkout::new();
    let line = checkout.refuse(&["-o", "no/such/folder/my.iso"]);
    assert!(
        line.contains("writing no/such/folder/my.iso: the folder no/such/folder cannot be written"),
        "{line}"
    );
    assert!(!checkout.path("cache/debs").exists());
}

#[test]
fn a_mirror_that_does_not_answer_is_named() {
    let checkout = Checkout::new();
    // Port 9 of loopback: the discard service, which nobody runs.
    let line = checkout.refuse(&["fetch", "--mirror", "http://127.0.0.1:9/debian"]);
    assert!(line.contains("downloading http://127.0.0.1:9/debian"), "{line}");
    let kept = fs::read_dir(checkout.path("cache/debs")).unwrap().count();
    assert_eq!(kept, 0, "an interrupted download was kept");
}

#[test]
fn a_mirror_that_does_not_answer_is_named_without_a_lock_as_well() {
    let checkout = Checkout::new();
    fs::remove_file(checkout.path("boot2docker.lock")).unwrap();
    let line = checkout.refuse(&["fetch", "--mirror", "http://127.0.0.1:9/debian"]);
    assert!(line.contains("reading suite trixie from the mirror http://127.0.0.1:9/debian: "), "{line}");
    assert!(!checkout.path("boot2docker.lock").exists());
}

#[test]
fn a_package_with_other_bytes_than_the_lock_says_is_refused_by_name() {
    let checkout = Checkout::new();
    let lock = Lock::read(&checkout.path("boot2docker.lock")).unwrap().unwrap();
    for package in &lock.packages {
        let archive = if package.archive == Archive::Main { "mirror" } else { "mirror-security" };
        let file = checkout.path(archive).join(&package.path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, "tampered").unwrap();
    }
    let line =
        checkout.refuse(&["fetch", "--mirror", &format!("file:{}", checkout.path("mirror").display())]);
    assert!(line.contains(": SHA-256 is ") && line.contains(" but the lock says "), "{line}");
    assert_eq!(fs::read_dir(checkout.path("cache/debs")).unwrap().count(), 0);
}

#[test]
fn a_package_that_left_the_mirror_is_an_error_with_locked() {
    let checkout = Checkout::new();
    fs::create_dir(checkout.path("mirror")).unwrap();
    let mirror = format!("file:{}", checkout.path("mirror").display());
    let line = checkout.refuse(&["fetch", "--locked", "--mirror", &mirror]);
    assert!(line.contains("is no longer on the mirror, and --locked forbids to resolve anew"), "{line}");
}

#[test]
fn offline_nothing_is_downloaded_and_what_is_missing_is_named() {
    let checkout = Checkout::new();
    let line = checkout.refuse(&["fetch", "--offline"]);
    assert!(line.contains(" are missing, and --offline forbids to download them: "), "{line}");
    assert!(line.contains(" busybox-static "), "{line}");
    let line = checkout.refuse(&["lock", "--offline", "--update"]);
    assert_eq!(line, "iso-builder: resolving packages anew: --offline forbids to ask the mirror");
}

#[test]
fn a_package_that_cannot_be_updated_because_nobody_uses_it_is_named() {
    let checkout = Checkout::new();
    let line = checkout.refuse(&["lock", "--update", "no-such-package"]);
    assert!(line.starts_with("iso-builder: updating no-such-package: "), "{line}");
    assert!(line.ends_with("boot2docker.lock has no such package"), "{line}");
}

#[test]
fn a_damaged_lock_is_named_with_its_fix() {
    let checkout = Checkout::new();
    fs::write(checkout.path("boot2docker.lock"), "format = 2\n").unwrap();
    let line = checkout.refuse(&["fetch"]);
    assert!(line.starts_with("iso-builder: reading the lock (remove it to resolve anew): "), "{line}");
    assert!(line.ends_with("boot2docker.lock:1: missing field `request`"), "{line}");
}

/// Uses the real cache: the kernel's source and the tools tree must be there before a patch can fail.
#[test]
fn a_patch_that_does_not_apply_is_named_and_no_kernel_is_left() {
    let checkout = Checkout::new().with_folder("kernel-config").with_folder("kernel-config/fragments");
    fs::create_dir(checkout.path("kernel-config/patches")).unwrap();
    let patch = "--- a/Makefile\n+++ b/Makefile\n@@ -1 +1 @@\n-no such line\n+another\n";
    fs::write(checkout.path("kernel-config/patches/0001-bad.patch"), patch).unwrap();
    fs::write(checkout.path("kernel-config/patches/series"), "0001-bad.patch\n").unwrap();
    let output = checkout.command(&["kernel"]).output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert!(words.contains("applying the patch ") && words.contains("0001-bad.patch"), "{words}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "a kernel was named");
}

#[test]
fn a_kernel_configuration_that_cannot_be_is_refused_before_any_work() {
    let checkout = Checkout::new().with_folder("kernel-config").with_folder("kernel-config/fragments");
    let checkout = checkout.with_folder("kernel-config/patches");
    let cases = [
        (
            "fragments = [\"none.config\"]",
            "my.toml:2: kernel.fragments: reading none.config: No such file or directory (os error 2)",
        ),
        (
            "patches = \"none\"",
            "my.toml:2: kernel.patches: reading none/series: No such file or directory (os error 2)",
        ),
        ("modules = [\"A B\"]", "my.toml:2: \"A B\" is no option; allowed is CONFIG_X or X"),
        ("modules = [\"A\", \"A\"]", "kernel.modules:2: CONFIG_A is set in kernel.modules:1 already"),
        (
            "source = { path = \"x\", sha256 = \"0\" }",
            "my.toml:2: sha256 is \"0\"; allowed are 64 hexadecimal digits, as sha256sum prints them",
        ),
    ];
    for (text, expected) in cases {
        fs::write(checkout.path("my.toml"), format!("[kernel]\n{text}\n")).unwrap();
        assert_eq!(checkout.refuse(&["--config", "my.toml"]), format!("iso-builder: {expected}"), "{text}");
    }
}

#[test]
fn customizing_says_what_it_lacks_and_writes_nothing() {
    let checkout = Checkout::new();
    fs::write(checkout.path("my.toml"), "[login]\npassword-login = false\n").unwrap();
    fs::write(checkout.path("empty.toml"), "[login]\n").unwrap();
    fs::write(checkout.path("in.iso"), "no ISO").unwrap();
    let cases: [(&[&str], &str); 3] = [
        (&[], "customizing needs --config FILE, which says what to bake in"),
        (&["--config", "empty.toml"], "reading empty.toml: it bakes nothing in"),
        (
            &["--config", "my.toml"],
            "reading 6 bytes at 32768 of in.iso: the file ends before; it is no ISO, or not all of one",
        ),
    ];
    for (arguments, expected) in cases {
        let arguments = [&["customize", "in.iso", "-o", "out.iso"], arguments].concat();
        assert_eq!(checkout.refuse(&arguments), format!("iso-builder: {expected}"));
    }
    assert!(!checkout.path("out.iso").exists());
}
