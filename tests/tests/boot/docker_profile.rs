//! The profile and everything else a user decides about dockerd, from one boot to several restarts of the daemon.

use anyhow::{Result, ensure};
use iso_builder::qemu::Bus;
use tests::authority::Authority;
use tests::disk::{Image, Layout};
use tests::rows::Row;
use tests::{Lab, Vm, rows};

const PROFILE: &[u8] = b"echo junk\nexport \"HTTP_PROXY=http://proxy.example:3128\"\nexport B2D_EXPORTED='a b'\n\
    EXTRA_ARGS='--label from=profile'\nDOCKER_ULIMITS=4096\nDOCKER_LOGFILE=/var/lib/boot2docker/log/mine.log\n\
    NTP_SERVER='ntp.example'\n";
const BOOTSYNC: &[u8] = b"env > /var/lib/boot2docker/hook.env\n";

/// Makes a command that waits for Docker: after a restart of the daemon it takes a moment.
const MAKE_AWAIT: &str = "printf '#!/bin/sh\nuntil docker version >/dev/null 2>&1; do sleep 0.2; done\n' | \
    sudo tee /usr/local/bin/await-docker && sudo chmod +x /usr/local/bin/await-docker";

const SETTINGS: &[Row] = &[
    ("exports over SSH", "echo $http_proxy $B2D_EXPORTED", "http://proxy.example:3128 a b\n"),
    ("exports at a login", "bash -lc 'echo $HTTP_PROXY' | tail -n 1", "http://proxy.example:3128\n"),
    ("exports to hooks", "grep ^B2D_EXPORTED /var/lib/boot2docker/hook.env", "B2D_EXPORTED=a b\n"),
    (
        "exports to the daemons",
        "for pid in $(pidof dockerd) $(pidof containerd); do sudo cat /proc/$pid/environ | tr '\\0' '\\n' | \
         grep -c '^https\\?_proxy=\\|^HTTP_PROXY='; done",
        "2\n2\n",
    ),
    (
        "limits of the daemons",
        "for pid in $(pidof dockerd) $(pidof containerd); do sudo grep 'Max open files' /proc/$pid/limits | \
         tr -s ' ' | cut -d ' ' -f 4; done",
        "4096\n4096\n",
    ),
    (
        "place of the log",
        "sudo grep -c 'API listen on /var' /var/lib/boot2docker/log/mine.log; cmp /var/log/docker.log \
         /var/lib/boot2docker/log/mine.log && echo same",
        "1\nsame\n",
    ),
    ("time servers", "grep ^server /run/boot2docker/ntp/profile.sources", "server ntp.example iburst\n"),
    ("labels", "docker info -f '{{.Labels}}'", "[from=profile]\n"),
    ("container logs are bounded", "grep -c max-size=10m /run/boot2docker/dockerd.args", "1\n"),
    (
        "junk among the authorities is told",
        "grep -o 'junk.pem holds no PEM' /run/boot2docker/motd.d/docker",
        "junk.pem holds no PEM\n",
    ),
    (
        "private keys are private",
        "sudo sh -c 'cd /var/lib/boot2docker/tls; stat -c \"%a %n\" . cakey.pem serverkey.pem key.pem'",
        "700 .\n600 cakey.pem\n600 serverkey.pem\n600 key.pem\n",
    ),
];

const SCRIPT: &[Row] = &[
    ("not as anybody", "/etc/init.d/docker stop; echo $?", "must be root\n1\n"),
    ("status", "sudo /etc/init.d/docker status", "Docker daemon is running\n"),
    ("stop", "sudo /usr/local/etc/init.d/docker stop; echo $?", "0\n"),
    ("stop again", "sudo /etc/init.d/docker stop; echo $?", "0\n"),
    ("status when stopped", "sudo /etc/init.d/docker status; echo $?", "Docker daemon is not running\n1\n"),
    ("start", "sudo /etc/rc.d/docker; echo $?", "0\n"),
];

const RENEWAL: &[Row] = &[
    (
        "a new address gets a certificate and a restart",
        "cp /home/docker/.docker/ca.pem old-ca.pem; old=$(cat /var/run/docker.pid); \
         sudo ip addr add 10.5.5.5/24 dev eth0; sudo docker-setup addresses-changed; \
         for i in $(seq 600); do pid=$(cat /var/run/docker.pid 2>/dev/null); \
         [ -n \"$pid\" ] && [ \"$pid\" != $old ] && echo restarted && break; sleep 0.2; done; \
         sudo grep -o 10.5.5.5 /var/lib/boot2docker/tls/hostnames; sudo cmp old-ca.pem /var/lib/boot2docker/tls/ca.pem && echo same",
        "restarted\n10.5.5.5\nsame\n",
    ),
    (
        "nothing new, no restart",
        "old=$(cat /var/run/docker.pid); sudo docker-setup addresses-changed-now; \
         [ \"$(cat /var/run/docker.pid)\" = \"$old\" ] && echo same",
        "same\n",
    ),
];

const CONFIGURATIONS: &[Row] = &[
    (
        "a broken daemon.json is told",
        "echo '{' | sudo tee /etc/docker/daemon.json >/dev/null; sudo service docker restart; \
         sudo service docker status | grep -o 'daemon.json: EOF.*docker will not start'",
        "daemon.json: EOF while parsing an object at line 2 column 0; docker will not start\n",
    ),
    (
        "what dockerd does not know is told in its own words",
        "echo '{\"no-such\": 1}' | sudo tee /etc/docker/daemon.json >/dev/null; sudo service docker restart; \
         sudo service docker status | grep -o 'docker will not start: .*no-such'",
        "docker will not start: unable to configure the Docker daemon with file /etc/docker/daemon.json: \
         the following directives don't match any configuration option: no-such\n",
    ),
    (
        "live restore",
        "echo '{\"live-restore\": true}' | sudo tee /etc/docker/daemon.json >/dev/null; sudo service docker restart; \
         await-docker; \
         docker run -d --name kept b2d-test /bin/busybox sleep 1000 >/dev/null; \
         old=$(docker inspect -f '{{.State.Pid}}' kept); sudo service docker restart; \
         await-docker; \
         [ \"$(docker inspect -f '{{.State.Pid}}' kept)\" = \"$old\" ] && echo same; docker rm -f kept",
        "same\nkept\n",
    ),
    (
        "user namespaces",
        "echo '{\"userns-remap\": \"default\"}' | sudo tee /etc/docker/daemon.json >/dev/null; \
         sudo service docker restart; await-docker; \
         tar -C image -c . | docker import - b2d-test >/dev/null; \
         docker run --rm b2d-test /bin/busybox cat /proc/self/uid_map | tr -s ' '",
        " 0 165536 65536\n",
    ),
    (
        "a broken profile is told with its line, and docker starts",
        "sudo rm /etc/docker/daemon.json; printf 'A=1\\nif\\n' | sudo tee /var/lib/boot2docker/profile >/dev/null; \
         sudo service docker restart; await-docker; \
         docker info -f '{{.Labels}}'; grep -o 'line [0-9]' /run/boot2docker/motd.d/profile",
        "[]\nline 3\n",
    ),
    (
        "an open listener is warned of",
        "echo DOCKER_TLS=no | sudo tee /var/lib/boot2docker/profile >/dev/null; sudo service docker restart; \
         await-docker; \
         ss -tln | grep -o ':237[56]'; grep -c DOCKER_TLS=no /run/boot2docker/motd.d/docker",
        ":2375\n1\n",
    ),
];

#[test]
fn the_users_decisions_count() -> Result<()> {
    let lab = Lab::new("docker-profile")?;
    let authority = Authority::new()?.pem();
    let files: [(&str, &[u8]); 4] = [
        ("var/lib/boot2docker/profile", PROFILE),
        ("var/lib/boot2docker/bootsync.sh", BOOTSYNC),
        ("var/lib/boot2docker/certs/own.pem", authority.as_bytes()),
        ("var/lib/boot2docker/certs/junk.pem", b"junk"),
    ];
    let disk = Image::data_with(&lab, "data", Layout::WholeDisk, &files)?;
    let mut vm = Vm::plan(&lab).disk(&disk, Bus::Virtio).start()?;
    vm.await_docker()?;
    let ssh = vm.ssh()?;
    let bundle = ssh.run("cat /etc/ssl/certs/ca-certificates.crt")?;
    let second_line = authority.lines().nth(1).expect("PEM has lines");
    ensure!(bundle.contains(second_line.trim_end()), "the user's authority is not in the bundle");
    ssh.run(MAKE_AWAIT)?;
    ssh.run(tests::container::IMPORT_IMAGE)?;
    let mut failures = Vec::new();
    for rows in [SETTINGS, SCRIPT, RENEWAL, CONFIGURATIONS] {
        ssh.run("await-docker")?;
        failures.extend(rows::failures(&ssh, rows)?);
    }
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    vm.press_power_button()?;
    disk.check(&lab)
}
