//! Who gets in, what they find there, and what a disk with strange keys and settings does to it.

use std::fs;

use anyhow::Result;
use iso_builder::qemu::Bus;
use tests::disk::{Image, Layout};
use tests::ssh::make_rsa_key;
use tests::{Lab, Vm};

/// Of an sshd ten years old: words that today's does not know.
const OLD_CONFIG: &str =
    "Protocol 2\nUsePrivilegeSeparation yes\nKeyRegenerationInterval 3600\nNoSuchOption yes\n";

/// Proxies and other settings that people keep in the profile.
const PROFILE: &str = "export HTTP_PROXY=http://proxy.example.org:3128\nexport B2D_TEST='two words'\n";

/// Command and what it must write, as user `docker` over SSH without a login shell.
const ANSWERS: [(&str, &str); 20] = [
    ("id", "uid=1000(docker) gid=50(staff) groups=50(staff),101(docker)\n"),
    (
        "echo $HOME; stat -c '%a %U %G' ~ ~/.ssh ~/.ssh/authorized_keys",
        "/home/docker\n755 docker staff\n700 docker staff\n600 docker staff\n",
    ),
    ("echo $PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"),
    ("sudo id -un; sudo -n true && sudo -s whoami", "root\nroot\n"),
    ("su - -c 'id -un; pwd'; su -c 'id -un' nobody -s /bin/sh", "root\n/root\nnobody\n"),
    ("sudo su - docker -c 'id -un'", "docker\n"),
    ("stat -c '%G %a' /var/run/docker.sock", "docker 660\n"),
    (
        "cat /etc/subuid /etc/subgid; id dockremap | cut -d' ' -f1",
        "dockremap:165536:65536\ndockremap:165536:65536\nuid=103(dockremap)\n",
    ),
    (
        "getent passwd docker 2>/dev/null || sed -n 's/^docker:/docker:/p' /etc/passwd",
        "docker:x:1000:50:Docker:/home/docker:/bin/bash\n",
    ),
    ("for shell in $(cut -d: -f7 /etc/passwd); do [ -x $shell ] || echo $shell; done", ""),
    (
        "cat /etc/timezone; date +%Z; [ -f /etc/localtime ] && [ ! -L /etc/localtime ] && head -c4 /etc/localtime",
        "UTC\nUTC\nTZif",
    ),
    ("lsb_release -sd | cut -d' ' -f1; /usr/local/bin/lsb_release -si", "Boot2Docker\nBoot2Docker\n"),
    (
        "[ \"$(cat /etc/version)\" = \"$(sed -n 's/^VERSION_ID=//p' /etc/os-release | tr -d '\"')\" ] && echo same",
        "same\n",
    ),
    (
        "cat /etc/sysconfig/superuser; cat /var/lib/boot2docker/etc/hostname; hostname -s",
        "root\nboot2docker\nboot2docker\n",
    ),
    (
        "hostname -i >/dev/null && echo found; [ -L /etc/resolv.conf ] || [ -s /etc/resolv.conf ] && echo there",
        "found\nthere\n",
    ),
    (
        "echo $HTTP_PROXY $http_proxy; echo \"$B2D_TEST\"",
        "http://proxy.example.org:3128 http://proxy.example.org:3128\ntwo words\n",
    ),
    ("sudo sethostname 'a b' 2>/dev/null; echo $?; sudo sethostname; hostname", "1\nboot2docker\n"),
    ("bash -lc 'echo $B2D_TEST'", "two words\n"),
    (
        "readlink /usr/local/etc/ssh; ls /var/lib/boot2docker/ssh/sshd_config.rejected-1",
        "/var/lib/boot2docker/ssh\n/var/lib/boot2docker/ssh/sshd_config.rejected-1\n",
    ),
    (
        "ls /var/lib/boot2docker/ssh/ssh_host_ecdsa_key /var/lib/boot2docker/ssh/ssh_host_ed25519_key | wc -l",
        "2\n",
    ),
];

#[test]
fn people_get_in_and_find_what_they_know() -> Result<()> {
    let lab = Lab::new("login")?;
    let key = make_rsa_key(lab.tools(), lab.folder())?;
    let public = fs::read_to_string(key.with_extension("pub"))?;
    // As Notepad saves it, with what people paste by mistake.
    let keys = format!("\u{feff}# my keys\r\nssh-rsa AAAAnonsense\r\n\r\nnot a key\r\n{}\r\n", public.trim());
    let state = |name: &str| format!("var/lib/boot2docker/{name}");
    let files = [
        (&*state("authorized_keys"), keys.as_bytes()),
        (&*state("ssh/sshd_config"), OLD_CONFIG.as_bytes()),
        (&*state("profile"), PROFILE.as_bytes()),
        (&*state("userdata.tar"), b""),
    ];
    let disk = Image::data_with(&lab, "data", Layout::Partition, &files)?;
    let mut vm = Vm::plan(&lab).disk(&disk, Bus::Virtio).start()?;
    vm.await_docker()?;
    let ssh = vm.ssh_with_key(&key)?;
    for (script, expected) in ANSWERS {
        assert_eq!(ssh.run(&format!("{script}; true"))?, expected, "{script}");
    }
    vm.press_power_button()?;
    disk.check(&lab)
}
