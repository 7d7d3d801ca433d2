//! Configurations against a small image, by what is in the layer and by what is said of mistakes.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::*;
use crate::config::Custom;
use crate::squashfs::Layer;
use crate::tree::{Content, GuestPath, Node};

const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";

/// Returns an image with what custom layers depend on.
fn image() -> Image {
    let mut tree = Tree::default();
    for (path, text, mode) in [
        ("/etc/passwd", "root:x:0:0::/:\ndocker:x:1000:50::/:\n", 0o644),
        ("/etc/group", "root:x:0:\nstaff:x:50:\n", 0o644),
        ("/etc/shadow", "root:*:1:::::\ndocker:$6$a$b:1:::::\n", 0o600),
        ("/etc/ssl/certs/ca-certificates.crt", "first\n", 0o644),
        ("/usr/local/etc/ssh/sshd_config", "PasswordAuthentication yes\n", 0o644),
    ] {
        tree.insert(GuestPath::new(path), Node::file(text.as_bytes(), mode));
    }
    tree.insert(GuestPath::new("/home/docker"), Node::folder(0o755, (1000, 50)));
    tree.insert(GuestPath::new("/etc/sudoers.d"), Node::folder(0o750, (0, 0)));
    tree.insert(GuestPath::new("/etc/link"), Node::symlink("ssl"));
    tree.add_parents(|_| None);
    Image::new(vec![Layer::open("50-boot2docker.squashfs", pack::squashfs(&tree, 7).unwrap()).unwrap()])
}

/// Returns what a configuration bakes in on top of [`image`]; relative paths begin in `folder`.
fn bake(folder: &Path, text: &str) -> Result<Tree, String> {
    let file = folder.join("my.toml");
    fs::write(&file, text).unwrap();
    let custom = Custom::load(&file).map_err(|error| error.to_string())?;
    tree(&custom, &image()).map_err(|error| format!("{error:#}"))
}

/// Lists mode, owner, path and content.
fn listed(tree: &Tree) -> Vec<String> {
    let line = |(path, node): (&GuestPath, &Node)| {
        let content = match &node.content {
            Content::Folder => "folder".to_owned(),
            Content::File(bytes) => format!("{:?}", String::from_utf8_lossy(bytes)),
            Content::Symlink(to) => format!("-> {}", to.display()),
        };
        format!("{:o} {}:{} {path} {content}", node.mode, node.owner.0, node.owner.1)
    };
    tree.iter().map(line).collect()
}

#[test]
fn every_key_has_its_place_in_the_image() {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    put("ca.pem", CERTIFICATE);
    put("hook", "echo hook\n");
    put("profile", "DOCKER_TLS=no\n");
    put("daemon.json", "{}");
    let cases: [(&str, &str, &[&str]); 11] = [
        (
            "keys",
            "[login]\nauthorized-keys = [\"ssh-ed25519 AAAAC3 me\"]\n",
            &[
                "755 0:0 /home folder",
                "755 1000:50 /home/docker folder",
                "700 1000:50 /home/docker/.ssh folder",
                "600 1000:50 /home/docker/.ssh/authorized_keys \"ssh-ed25519 AAAAC3 me\\n\"",
            ],
        ),
        (
            "no passwords",
            "[login]\npassword-login = false\n",
            &[
                "755 0:0 /etc folder",
                "600 0:0 /etc/shadow \"root:*:1:::::\\ndocker:*:1:::::\\n\"",
                "755 0:0 /usr folder",
                "755 0:0 /usr/local folder",
                "755 0:0 /usr/local/etc folder",
                "755 0:0 /usr/local/etc/ssh folder",
                "644 0:0 /usr/local/etc/ssh/sshd_config \"PasswordAuthentication no\\n\"",
            ],
        ),
        (
            "another password",
            "[login]\npassword = \"$6$x$y\"\n",
            &["755 0:0 /etc folder", "600 0:0 /etc/shadow \"root:*:1:::::\\ndocker:$6$x$y:1:::::\\n\""],
        ),
        (
            "profile",
            "[docker]\nprofile = \"profile\"\nextra-args = [\"--debug\"]\n",
            &[
                "755 0:0 /etc folder",
                "755 0:0 /etc/default folder",
                "644 0:0 /etc/default/docker \"DOCKER_OPTS=\\\"$DOCKER_OPTS \\\"'--debug'\\nDOCKER_TLS=no\\n\"",
            ],
        ),
        ("daemon.json", "[docker]\ndaemon-json = \"daemon.json\"\n", &["644 0:0 /custom/daemon.json \"{}\""]),
        (
            "authorities",
            "[certificates]\nfiles = [\"ca.pem\"]\n",
            &[
                "755 0:0 /etc folder",
                "755 0:0 /etc/ssl folder",
                "755 0:0 /etc/ssl/certs folder",
                "644 0:0 /etc/ssl/certs/ca-certificates.crt \"first\\n-----BEGIN CERTIFICATE-----\\nMIIB\\n\
                 -----END CERTIFICATE-----\\n\"",
            ],
        ),
        (
            "address",
            "[network.\"52:54:00:12:34:AB\"]\naddress = \"10.0.0.2/8\"\ngateway = [\"10.0.0.1\"]\nmtu = 1400\n",
            &[
                "755 0:0 /custom/network folder",
                "644 0:0 /custom/network/52:54:00:12:34:ab \"address=10.0.0.2/8\\ngateway=10.0.0.1\\nmtu=1400\\n\"",
            ],
        ),
        ("name", "[hostname]\npattern = \"n-{mac6}\"\n", &["644 0:0 /custom/hostname \"n-{mac6}\\n\""]),
        ("hook", "[hooks]\nbootsync = \"hook\"\n", &["755 0:0 /custom/bootsync.sh \"echo hook\\n\""]),
        (
            "file",
            "[[files]]\nfrom = \"hook\"\nto = \"/etc/sudoers.d/x\"\nmode = 0o440\nowner = \"docker:staff\"\n",
            &[
                "755 0:0 /etc folder",
                "750 0:0 /etc/sudoers.d folder",
                "440 1000:50 /etc/sudoers.d/x \"echo hook\\n\"",
            ],
        ),
        (
            "text",
            "[[files]]\ncontent = \"a\"\nto = \"/bin/a\"\n",
            &["755 0:0 /usr folder", "755 0:0 /usr/bin folder", "644 0:0 /usr/bin/a \"a\""],
        ),
    ];
    for (name, text, expected) in cases {
        let lines = listed(&bake(folder.path(), text).unwrap());
        let way =
            ["755 0:0 /usr folder", "755 0:0 /usr/share folder", "755 0:0 /usr/share/boot2docker folder"];
        let lines: Vec<_> =
            lines.iter().map(|line| line.replace("/usr/share/boot2docker/custom", "/custom")).collect();
        let is_way = |line: &&String| way.contains(&line.as_str()) || line.ends_with(" /custom folder");
        let is_own = expected.iter().any(|line| line.contains(" /custom"));
        let lines: Vec<_> = lines.iter().filter(|line| !(is_own && is_way(line))).collect();
        assert_eq!(lines, expected.iter().collect::<Vec<_>>(), "{name}");
    }
}

#[test]
fn folders_are_copied_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let top = folder.path().join("files");
    fs::create_dir_all(top.join("opt/tool")).unwrap();
    fs::create_dir_all(top.join("etc")).unwrap();
    fs::write(top.join("opt/tool/run"), "x").unwrap();
    fs::set_permissions(top.join("opt/tool/run"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(top.join("etc/conf"), "y").unwrap();
    std::os::unix::fs::symlink("run", top.join("opt/tool/go")).unwrap();
    let tree = bake(folder.path(), "[[files]]\nfrom = \"files\"\nto = \"/\"\nowner = \"0:staff\"\n").unwrap();
    let expected = [
        "755 0:0 /etc folder",
        "644 0:50 /etc/conf \"y\"",
        "755 0:50 /opt folder",
        "755 0:50 /opt/tool folder",
        "777 0:50 /opt/tool/go -> run",
        "755 0:50 /opt/tool/run \"x\"",
    ];
    assert_eq!(listed(&tree), expected);
}

#[test]
fn mistakes_name_file_line_and_what_is_allowed() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path().display().to_string();
    let put = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    put("key.pem", &format!("{CERTIFICATE}-----BEGIN PRIVATE KEY-----\n"));
    put("plain", "plain");
    put("daemon.json", "{\"mtu\": 1}");
    let cases = [
        (
            "key of a build",
            "[login]\n[image]\n\ngroups = []\n",
            "4: image.groups takes a build; in an ISO that exists \
            allowed are certificates, docker, files, hooks, hostname, login, network, kernel.append",
        ),
        (
            "kernel",
            "[kernel]\nappend = \"a\"\nmodules = []\n",
            "3: kernel.modules takes a build; in an ISO that exists \
            allowed are certificates, docker, files, hooks, hostname, login, network, kernel.append",
        ),
        (
            "unknown key",
            "[login]\nkeys = []\n",
            "2: unknown field `keys`, expected one of `authorized-keys`, `password`, \
            `password-login`",
        ),
        (
            "wrong type",
            "[login]\npassword-login = \"no\"\n",
            "2: invalid type: string \"no\", expected a boolean",
        ),
        (
            "no key",
            "[login]\nauthorized-keys = [\"ssh-rsa\"]\n",
            "2: \"ssh-rsa\" is no public key; allowed is one line as \
            in ~/.ssh/id_ed25519.pub, such as `ssh-ed25519 AAAA... me`",
        ),
        (
            "no hash",
            "[login]\npassword = \"secret\"\n",
            "2: password is no hash; allowed is what `openssl passwd -6` \
            prints, which begins with `$`",
        ),
        (
            "missing file",
            "\n\n[hooks]\nbootsync = \"none\"\n",
            "4: reading @/none: No such file or directory (os error 2); \
            relative paths begin in the folder of this file",
        ),
        (
            "no certificate",
            "[certificates]\nfiles = [\n\"plain\"]\n",
            "3: certificates.files: no PEM certificate is in it; \
            allowed are files with BEGIN CERTIFICATE",
        ),
        (
            "private key",
            "[certificates]\nfiles = [\"key.pem\"]\n",
            "2: certificates.files: a private key is in it; whoever \
            has the ISO would have the key",
        ),
        (
            "no argument",
            "[docker]\nextra-args = [\"-D\"]\n",
            "2: \"-D\" is no argument; allowed is `--flag` or \
            `--flag=value`, without blanks and quotes",
        ),
        (
            "no registry",
            "[docker]\ninsecure-registries = [\"http://r\"]\n",
            "2: \"http://r\" is no registry; allowed is \
            HOST:PORT or a network such as 10.0.0.0/8, without http://",
        ),
        (
            "no variable",
            "[docker]\nenvironment = { \"1A\" = \"x\" }\n",
            "2: \"1A\" is no variable; allowed are letters, \
            digits and `_`, no digit first",
        ),
        (
            "file against arguments",
            "[docker]\ndaemon-json = \"daemon.json\"\nextra-args = [\"--mtu=2\"]\n",
            "2: \
            docker.daemon-json: it sets mtu, as --mtu=2 does; dockerd allows one of the two",
        ),
        (
            "no card",
            "[network.wlan0]\naddress = \"10.0.0.1/8\"\n",
            "2: network.wlan0 is no card; allowed are eth0, eth1, \
            ... and hardware addresses such as \"52:54:00:12:34:56\"",
        ),
        (
            "no address",
            "[network.eth0]\naddress = \"10.0.0.1\"\n",
            "2: address is \"10.0.0.1\"; allowed is an IPv4 address \
            with the length of its prefix, such as 192.168.99.50/24",
        ),
        (
            "no router",
            "[network.eth0]\naddress = \"10.0.0.1/8\"\ngateway = [\"r\"]\n",
            "3: gateway has \"r\"; allowed is \
            an IPv4 address",
        ),
        (
            "no pattern",
            "[hostname]\npattern = \"{serial}\"\n",
            "2: \"{serial}\" gives no host name; allowed are letters, \
            digits, '-', '_', '.', {mac} and {mac6}, at most 64 in all, a letter or digit first",
        ),
        (
            "two lines",
            "[kernel]\nappend = \"a\\nb\"\n",
            "2: append is \"a\\nb\"; allowed is one line without any of \
            \" ' \\ $ ; & | < > { }",
        ),
        (
            "relative",
            "[[files]]\nto = \"etc/x\"\ncontent = \"\"\n",
            "2: `etc/x` is no path in the image; allowed are \
            absolute ones without `..`, such as /etc/motd",
        ),
        (
            "neither",
            "[[files]]\nto = \"/etc/x\"\n",
            "2: a [[files]] entry has either `from`, a file or folder, or \
            `content`, a text",
        ),
        (
            "decimal mode",
            "[[files]]\nto = \"/etc/x\"\ncontent = \"\"\nmode = 644\n",
            "4: mode is 644, which is 0o1204; \
            allowed are octal numbers from 0o400 to 0o7777 that let the owner read, such as 0o644",
        ),
        (
            "nobody",
            "[[files]]\nto = \"/etc/x\"\ncontent = \"\"\nowner = \"me:staff\"\n",
            "4: owner is \"me:staff\"; \
            allowed is USER:GROUP, numbers or names; users are root, docker; groups are root, staff",
        ),
        (
            "twice",
            "[[files]]\nto = \"/etc/x\"\ncontent = \"\"\n\n[[files]]\nto = \"/etc/x\"\ncontent = \"\"\n",
            "6: /etc/x \
            is given twice: here and by line 2; allowed is one of the two",
        ),
        (
            "by a key",
            "[[files]]\nto = \"/etc/shadow\"\ncontent = \"\"\n[login]\npassword-login = true\npassword = \"$6$\"\n",
            "2: /etc/shadow is given twice: here and by login.password; allowed is one of the two",
        ),
        (
            "below a file",
            "[[files]]\nto = \"/a\"\ncontent = \"\"\n[[files]]\nto = \"/a/b\"\ncontent = \"\"\n",
            "5: /a/b \
            needs the folder /a, which is a file by line 2",
        ),
        (
            "above a file",
            "[[files]]\nto = \"/a/b\"\ncontent = \"\"\n[[files]]\nto = \"/a\"\ncontent = \"\"\n",
            "5: /a is \
            given twice: here and by line 2; allowed is one of the two",
        ),
        (
            "a folder",
            "[[files]]\nto = \"/etc\"\ncontent = \"\"\n",
            "2: /etc is a folder of the image; allowed is a folder, \
            or a path in it",
        ),
        (
            "a link",
            "[[files]]\nto = \"/etc/link/x\"\ncontent = \"\"\n",
            "2: /etc/link is a link to ssl in the image; name \
            the path it leads to",
        ),
        (
            "on the disk",
            "[[files]]\nto = \"/var/lib/boot2docker/profile\"\ncontent = \"\"\n",
            "2: \
            /var/lib/boot2docker/profile cannot be in an image: /var/lib/boot2docker is on the data disk, which is the \
            user's; see docs/custom-iso.md for hooks, profile and addresses",
        ),
    ];
    for (name, text, expected) in cases {
        let expected = format!("{here}/my.toml:{}", expected.replace('@', &here));
        assert_eq!(bake(folder.path(), text).map(|tree| listed(&tree)), Err(expected), "{name}");
    }
}

#[test]
fn a_layer_is_packed_the_same_each_time_and_lies_above_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let tree = bake(folder.path(), "[[files]]\ncontent = \"a\"\nto = \"/etc/a\"\nmode = 0o4755\n").unwrap();
    let image = image();
    assert_eq!(image.time(), 7);
    let baked = pack(&tree, &image, 9).unwrap();
    assert_eq!(baked, pack(&tree, &image, 9).unwrap());
    assert_eq!(baked.name, "60-custom.squashfs");
    let layer = Layer::open(&baked.name, baked.squashfs).unwrap();
    assert_eq!(layer.find(Path::new("/etc/a")).map(|found| found.mode), Some(0o4755));
    assert_eq!(layer.read("/etc/a").unwrap().as_deref(), Some(&b"a"[..]));
    let stacked = Image::new(vec![layer]);
    assert_eq!(pack(&tree, &stacked, 9).unwrap().name, "61-custom.squashfs");
}

#[test]
fn the_bill_of_materials_names_what_is_baked_in() {
    use crate::sbom::spdx::{Document, Package, Relationship};
    const BILL: &str = "/usr/share/boot2docker/boot2docker.spdx.json";
    let system = Package::new("SPDXRef-boot2docker", "boot2docker", "1");
    let relations = vec![Relationship::new("SPDXRef-DOCUMENT", "DESCRIBES", &system.id)];
    let plain = Document::new("1", 0, vec![system], relations, Vec::new()).unwrap();
    let layer = |path: &str, text: &str| {
        let mut tree = Tree::default();
        tree.insert(GuestPath::new(path), Node::file(text.as_bytes(), 0o644));
        tree.insert(GuestPath::new("/etc/alias"), Node::symlink("hosts"));
        tree.add_parents(|_| None);
        tree
    };
    let open = |name: &str, bytes: Vec<u8>| Layer::open(name, bytes).unwrap();
    let base = || open("10-base.squashfs", pack::squashfs(&layer(BILL, &plain.to_text()), 7).unwrap());

    let first = pack(&layer("/etc/abc", "abc"), &Image::new(vec![base()]), 7).unwrap();
    let bill = first.bill.unwrap();
    let found = |name: &str| bill.packages.iter().find(|package| package.name == name).unwrap();
    let sum = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(found("/etc/abc").sha256(), Some(sum));
    assert_eq!(found("/etc/alias").comment.as_deref(), Some("link to hosts"));
    assert_ne!(bill.document_namespace, plain.document_namespace);
    // The image's bill is this one, and one more layer adds to it.
    let image = Image::new(vec![base(), open(&first.name, first.squashfs)]);
    assert_eq!(image.text(BILL).unwrap(), Some(bill.to_text()));
    let second = pack(&layer("/etc/more", ""), &image, 7).unwrap().bill.unwrap();
    let names: Vec<_> = second.packages.iter().map(|package| package.name.as_str()).collect();
    let expected = ["boot2docker", "60-custom.squashfs", "/etc/abc", "/etc/alias", "61-custom.squashfs"];
    assert_eq!(names[..5], expected);
    assert_eq!(pack(&layer("/etc/abc", ""), &Image::new(Vec::new()), 7).unwrap().bill, None);
}
