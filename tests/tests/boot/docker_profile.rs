//! The profile and everything else a user decides about dockerd, from one boot to several restarts of the daemon.

use anyhow::{Result, ensure};
use b2d_sys::contract::DOCKER_TLS_PORT;
use iso_builder::qemu::Bus;
use tests::authority::Authority;
use tests::disk::{Image, Layout};
use tests::docker::Docker;
use tests::rows::Row;
use tests::{Lab, Vm, rows};

use crate::registries;

const PROFILE: &[u8] =
    b"echo junk\nexport \"HTTP_PROXY=http://proxy.example:3128\"\nexport B2D_EXPORTED='a b'\n\
    export NO_PROXY=registry.example\n\
    EXTRA_ARGS='--label from=profile --tlsverify=0 --insecure-registry registry.example:5000'\nDOCKER_ULIMITS=4096\n\
    DOCKER_LOGFILE=/var/lib/boot2docker/log/mine.log\nNTP_SERVER='ntp.example'\nDOCKER_DIR=/mnt/more/docker\n\
    DOCKER_STORAGE=zfs\n";
/// Also mounts what the profile wants for Docker's data, once containerd runs already.
const BOOTSYNC: &[u8] =
    b"env > /var/lib/boot2docker/hook.env\nmkdir -p /mnt/more /var/lib/boot2docker/more\n\
    until [ -S /run/containerd/containerd.sock ]; do sleep 0.1; done\n\
    mount --bind /var/lib/boot2docker/more /mnt/more\n";

/// Makes a command that waits for Docker: after a restart of the daemon it takes a moment.
const MAKE_AWAIT: &str = "printf '#!/bin/sh\nuntil docker version >/dev/null 2>&1; do sleep 0.2; done\n' | \
    sudo tee /usr/local/bin/await-docker && sudo chmod +x /usr/local/bin/await-docker";

/// Makes a command that moves the clock by days; at a new day certificates are looked at.
const MAKE_GO: &str = "printf '#!/bin/sh\nexec sudo date -s @$(($(date +%%s) + $1 * 86400)) >/dev/null\n' | \
    sudo tee /usr/local/bin/go && sudo chmod +x /usr/local/bin/go";

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
    (
        "a listener stays closed",
        "grep -c tlsverify=0 /run/boot2docker/dockerd.args; \
         grep -o -e '--tlsverify=0 in EXTRA_ARGS is ignored' /run/boot2docker/motd.d/docker",
        "0\n--tlsverify=0 in EXTRA_ARGS is ignored\n",
    ),
    (
        "images lie in DOCKER_DIR, on the disk a hook has mounted there",
        "docker info -f '{{.DockerRootDir}}'; \
         sudo sh -c 'cd /var/lib/boot2docker/more/docker/containerd/daemon && ls -d *metadata.v1.bolt && \
         ls io.containerd.content.v1.content/blobs/sha256 | grep -q . && echo images; ls -A /var/lib/docker | wc -l'",
        "/mnt/more/docker\nio.containerd.metadata.v1.bolt\nimages\n0\n",
    ),
    (
        "a driver that cannot work is ignored",
        "grep DOCKER_STORAGE /run/boot2docker/motd.d/docker; docker info -f '{{.Driver}}'",
        "DOCKER_STORAGE=zfs is ignored: it does not work on /mnt/more/docker\noverlayfs\n",
    ),
    ("labels", "docker info -f '{{.Labels}}'", "[from=profile]\n"),
    ("container logs are bounded", "grep -c max-size=10m /run/boot2docker/dockerd.args", "1\n"),
    (
        "junk among the authorities is told",
        "grep -o 'junk.pem holds no PEM' /run/boot2docker/motd.d/docker",
        "junk.pem holds no PEM\n",
    ),
    (
        "an authority that is there twice is told",
        "grep -o -m 1 'own.pem holds a certificate that is in the list already' /boot.log",
        "own.pem holds a certificate that is in the list already\n",
    ),
    (
        "private keys are private, that of an older release too",
        "sudo sh -c 'cd /var/lib/boot2docker/tls; stat -c \"%a %n\" . cakey.pem serverkey.pem key.pem clientkey.pem'",
        "700 .\n600 cakey.pem\n600 serverkey.pem\n600 key.pem\n600 clientkey.pem\n",
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
        "an advertised address is named in time, without a restart",
        "old=$(cat /var/run/docker.pid); sudo ip addr add fd00:b2d::15/64 dev eth0 valid_lft 3600 preferred_lft 3600; \
         named() { sudo grep -c fd00:b2d::15 /var/lib/boot2docker/tls/hostnames; }; \
         sudo docker-setup addresses-changed-now; named; sudo docker-setup renew-now; named; \
         [ \"$(cat /var/run/docker.pid)\" = \"$old\" ] && echo same",
        "0\n1\nsame\n",
    ),
    (
        "a certificate that ends soon is replaced while the machine runs",
        "old=$(cat /var/run/docker.pid); sudo cp /var/lib/boot2docker/tls/server.pem old.pem; go 1060; \
         for i in $(seq 600); do pid=$(cat /var/run/docker.pid 2>/dev/null); \
         [ -n \"$pid\" ] && [ \"$pid\" != $old ] && echo restarted && break; sleep 0.2; done; \
         sudo cmp -s old.pem /var/lib/boot2docker/tls/server.pem || echo replaced; \
         sudo cmp old-ca.pem /var/lib/boot2docker/tls/ca.pem && echo same; go -1060",
        "restarted\nreplaced\nsame\n",
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
        "live restore, and a file that cannot open the listener",
        "echo '{\"live-restore\": true, \"tls\": false}' | sudo tee /etc/docker/daemon.json >/dev/null; sudo service docker restart; \
         await-docker; \
         docker run -d --name kept b2d-test /bin/busybox sleep 1000 >/dev/null; \
         old=$(docker inspect -f '{{.State.Pid}}' kept); sudo service docker restart; \
         await-docker; \
         [ \"$(docker inspect -f '{{.State.Pid}}' kept)\" = \"$old\" ] && echo same; docker rm -f kept; \
         curl -s --noproxy '*' http://127.0.0.1:2376/_ping",
        "same\nkept\nClient sent an HTTP request to an HTTPS server.\n",
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
        "a certificate of others that ends soon is told while the machine runs",
        "sudo rm /etc/docker/daemon.json; cd /var/lib/boot2docker; \
         for f in ca server serverkey; do sudo cp tls/$f.pem my-$f.pem; done; \
         printf '%s=/var/lib/boot2docker/my-%s.pem\\n' CACERT ca SERVERCERT server SERVERKEY serverkey | \
         sudo tee profile >/dev/null; echo DOCKER_TLS=--tls | sudo tee -a profile >/dev/null; \
         sudo service docker restart; await-docker; old=$(cat /var/run/docker.pid); \
         curl -skS --noproxy '*' https://127.0.0.1:2376/_ping 2>&1 | grep -o 'certificate required'; \
         go 2120; for i in $(seq 600); do \
         grep -o 'my-server.pem expires in' /run/boot2docker/motd.d/docker && break; sleep 0.2; done; \
         [ \"$(cat /var/run/docker.pid)\" = \"$old\" ] && echo same; go -2120",
        "certificate required\nmy-server.pem expires in\nsame\n",
    ),
    (
        "a broken profile is told with its line, and docker starts",
        "printf 'A=1\\nif\\n' | sudo tee /var/lib/boot2docker/profile >/dev/null; \
         sudo service docker restart; await-docker; \
         docker info -f '{{.Labels}} {{.DockerRootDir}}'; grep -o 'line [0-9]' /run/boot2docker/motd.d/profile; \
         tr '\\0' ' ' < /proc/$(pidof containerd)/cmdline | grep -o -e '--root [^ ]*'",
        "[] /mnt/vda/var/lib/docker\nline 3\n--root /var/lib/docker/containerd/daemon\n",
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
    let authority = Authority::new()?;
    let pem = authority.pem();
    let files: [(&str, &[u8]); 6] = [
        ("var/lib/boot2docker/profile", PROFILE),
        ("var/lib/boot2docker/bootsync.sh", BOOTSYNC),
        ("var/lib/boot2docker/certs/own.pem", pem.as_bytes()),
        ("var/lib/boot2docker/certs/again.crt", pem.as_bytes()),
        ("var/lib/boot2docker/certs/junk.pem", b"junk"),
        ("var/lib/boot2docker/tls/clientkey.pem", b"old"),
    ];
    let disk = Image::data_with(&lab, "data", Layout::WholeDisk, &files)?;
    let mut vm = Vm::plan(&lab).disk(&disk, Bus::Virtio).start()?;
    vm.await_docker()?;
    let ssh = vm.ssh()?;
    let bundle = ssh.run("cat /etc/ssl/certs/ca-certificates.crt")?;
    let second_line = pem.lines().nth(1).expect("PEM has lines");
    assert_eq!(bundle.matches(second_line.trim_end()).count(), 1, "the user's authority in the bundle");
    let port = vm.port(DOCKER_TLS_PORT)?;
    assert!(Docker::stranger(port).ping().is_err(), "nobody gets in without a certificate");
    ssh.run(MAKE_AWAIT)?;
    ssh.run(MAKE_GO)?;
    ssh.run(tests::container::IMPORT_IMAGE)?;
    let mut failures = registries::failures(&ssh, &authority)?;
    for rows in [SETTINGS, SCRIPT, RENEWAL, CONFIGURATIONS] {
        ssh.run("await-docker")?;
        failures.extend(rows::failures(&ssh, rows)?);
    }
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    vm.press_power_button()?;
    disk.check(&lab)
}
