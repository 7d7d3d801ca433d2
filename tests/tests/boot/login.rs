//! Who gets in, what they find there, and what a disk with strange keys and settings does to it.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use anyhow::{Context, Result};
use iso_builder::qemu::Bus;
use tests::disk::{Image, Layout};
use tests::ssh::{Ssh, make_rsa_key};
use tests::{Deadline, Lab, Vm, child};

use crate::copies::files_can_be_copied;

/// Of an sshd ten years old: words that today's does not know.
const OLD_CONFIG: &str =
    "Protocol 2\nUsePrivilegeSeparation yes\nKeyRegenerationInterval 3600\nNoSuchOption yes\n";

/// Proxies and other settings that people keep in the profile.
const PROFILE: &str = "export HTTP_PROXY=http://proxy.example.org:3128\nexport B2D_TEST='two words'\n";

/// Command and what it must write, as user `docker` over SSH without a login shell.
const ANSWERS: [(&str, &str); 29] = [
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
        "cut -d= -f1 /etc/os-release | tr '\\n' ' '",
        "NAME VERSION ID ID_LIKE VERSION_ID PRETTY_NAME ANSI_COLOR HOME_URL SUPPORT_URL BUG_REPORT_URL ",
    ),
    (
        "grep -cE '^HEAD : [0-9a-f]{7} - [A-Z][a-z]{2} [A-Z][a-z]{2} [ 0-9][0-9] [0-9:]{8} UTC [0-9]{4}$' /etc/boot2docker",
        "1\n",
    ),
    (
        "bash -lic true 2>/dev/null | sed \"s/$(cat /etc/version)/V/; s/$(cat /etc/boot2docker)/B/\"",
        "Boot2Docker version V, build B\nDocker version V\n\
         Data disk /dev/vda1 on /mnt/vda1; all else is in RAM and gone at power-off\n",
    ),
    (
        "sudo mkdir -p /run/boot2docker/motd.d; echo odd | sudo tee /run/boot2docker/motd.d/odd; boot2docker-state | tail -n 1; sudo rm /run/boot2docker/motd.d/odd",
        "odd\n! odd\n",
    ),
    (
        "grep -c \"ssh/sshd_config was changed and stays; this image's is sshd_config.image beside it\" /boot.log; \
         ls /var/lib/boot2docker/ssh/sshd_config.image",
        "1\n/var/lib/boot2docker/ssh/sshd_config.image\n",
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
    (
        "for tool in bash crontab curl docker e2fsck ip iptables less netstat rsync sfdisk ss tar vi xz; do \
         command -v $tool >/dev/null || echo $tool is missing; done",
        "",
    ),
    (
        "curl -s --unix-socket /var/run/docker.sock http://docker/_ping; echo; echo packed | xz | xz -d; \
         sudo sfdisk --quiet --list /dev/vda | head -n 1 | cut -d' ' -f1; ls /usr/share/bash-completion/completions/docker",
        "OK\npacked\nDevice\n/usr/share/bash-completion/completions/docker\n",
    ),
    (
        "bash -ic '_load_completion docker vers docker; echo $?; COMP_WORDS=(docker vers); COMP_CWORD=1; \
         COMP_POINT=11; COMP_LINE=\"docker vers\"; _docker; echo $COMPREPLY' 2>/dev/null",
        "124\nversion\n",
    ),
    (
        "sudo /usr/local/etc/init.d/nfs-client start; for kind in nfs nfs4 9p; do grep -w $kind /proc/filesystems; done; \
         sudo modprobe cifs && grep -w cifs /proc/filesystems; command -v mount.nfs mount.cifs",
        "nodev\tnfs\nnodev\tnfs4\nnodev\t9p\nnodev\tcifs\n/usr/sbin/mount.nfs\n/usr/sbin/mount.cifs\n",
    ),
];

/// Program of a group of the image, and what it must do without a complaint where the image has it.
const GROUPS: [(&str, &str); 9] = [
    ("/usr/bin/ssh", "ssh -V"),
    ("/usr/bin/git", "git init -q /tmp/git && git ls-remote /tmp/git && git -C /tmp/git submodule"),
    (
        "/usr/lib/git-core/git-remote-https",
        "echo | /usr/lib/git-core/git-remote-https origin https://localhost/",
    ),
    ("/usr/bin/strace", "strace -o /tmp/trace true && grep -q execve /tmp/trace"),
    ("/usr/bin/tcpdump", "tcpdump -d -y EN10MB tcp port 2376"),
    (
        "/usr/bin/btrfs",
        "truncate -s 200M /tmp/btrfs && mkfs.btrfs -q /tmp/btrfs && btrfs check /tmp/btrfs && rm /tmp/btrfs",
    ),
    ("/usr/sbin/parted", "sudo parted -s /dev/vda print && sudo partprobe -d -s /dev/vda"),
    ("/usr/libexec/docker/cli-plugins/docker-compose", "docker compose version"),
    ("/usr/libexec/docker/cli-plugins/docker-buildx", "docker buildx version"),
];

/// Asks Docker whether it is there, and no more.
const PING: &[u8] = b"GET /_ping HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n";

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
    programs_of_groups_run(&ssh)?;
    files_can_be_copied(&lab, &ssh)?;
    docker_answers_through_ssh(&ssh)?;
    vm.press_power_button()?;
    disk.check(&lab)
}

/// The usual image has none of these; one made with all groups has all.
fn programs_of_groups_run(ssh: &Ssh) -> Result<()> {
    for (program, script) in GROUPS {
        ssh.run(&format!("[ ! -e {program} ] || {{ {script}; }} >/dev/null"))?;
    }
    Ok(())
}

/// As `DOCKER_HOST=ssh://` does it, and as people who forward the socket do.
fn docker_answers_through_ssh(ssh: &Ssh) -> Result<()> {
    let answer = ssh.output("docker system dial-stdio", PING)?;
    let answer = String::from_utf8_lossy(&answer.stdout).into_owned();
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("OK"), "{answer}");

    // A socket's path has 108 bytes at most; a checkout may lie deeper.
    let folder = tempfile::tempdir()?;
    let socket = folder.path().join("docker.sock");
    let forward = format!("{}:/var/run/docker.sock", socket.display());
    let mut tunnel = ssh.command(&["-L", &forward, "-oExitOnForwardFailure=yes"]);
    // It lasts as long as its standard input.
    let mut tunnel = tunnel.arg("echo open; cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut line = String::new();
    BufReader::new(tunnel.stdout.take().context("taking the tunnel's output")?).read_line(&mut line)?;
    assert_eq!(line, "open\n");
    let mut docker = UnixStream::connect(&socket)?;
    docker.write_all(PING)?;
    let mut answer = String::new();
    docker.read_to_string(&mut answer)?;
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("OK"), "{answer}");
    // ssh ends with its last forwarded connection.
    drop((docker, tunnel.stdin.take()));
    child::wait(&mut tunnel, Deadline::reply()).map(drop)
}
