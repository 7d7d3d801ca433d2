//! What people do with Docker, on one machine: each row is a feature that must work.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::docker::Docker;
use tests::rows::Row;
use tests::ssh::Ssh;
use tests::{Lab, Vm, docker, kernel_options, rows};

/// Port of the web server in its container and where it is published in the guest.
const WEB_PORT: u16 = 8080;

/// An image of the guest's own busybox with its names, made without a registry.
const MAKE_IMAGE: &str = "mkdir -p i/bin i/tmp i/proc && for name in $(busybox --list); do \
    ln -sf busybox i/bin/$name; done && rm -f i/bin/busybox && cp /bin/busybox i/bin/ && \
    tar -C i -c . | docker import -c 'ENV PATH=/bin' -c 'CMD [\"sh\"]' - box";

const NETWORKS: &[Row] = &[
    (
        "names on a network of one's own",
        "docker network create own >/dev/null; mkdir -p page; \
         docker run -d --name web --network own box sh -c 'echo page > /index.html; exec httpd -f -h /' >/dev/null; \
         docker run --rm --network own box sh -c 'for i in $(seq 30); do wget -q -T 3 -O - http://web/ && break; done'; \
         docker rm -f web >/dev/null; docker network rm own >/dev/null",
        "page\n",
    ),
    (
        "macvlan",
        "docker network create -d macvlan -o parent=eth0 --subnet 10.99.0.0/24 lan >/dev/null; \
         docker run -d --name one --network lan --ip 10.99.0.2 box sleep 1000 >/dev/null; \
         docker run --rm --network lan box ping -c 1 -W 20 10.99.0.2 | grep -o '1 packets received'; \
         docker rm -f one >/dev/null; docker network rm lan >/dev/null",
        "1 packets received\n",
    ),
    (
        "ipvlan",
        "docker network create -d ipvlan -o parent=eth0 --subnet 10.98.0.0/24 lan >/dev/null; \
         docker run -d --name one --network lan --ip 10.98.0.2 box sleep 1000 >/dev/null; \
         docker run --rm --network lan box ping -c 1 -W 20 10.98.0.2 | grep -o '1 packets received'; \
         docker rm -f one >/dev/null; docker network rm lan >/dev/null",
        "1 packets received\n",
    ),
    (
        "IPv6 with NAT",
        "docker network create --ipv6 --subnet fd00:b2d::/64 six >/dev/null; \
         docker run -d --name one --network six --ip6 fd00:b2d::99 box sleep 1000 >/dev/null; \
         docker run --rm --network six box ping6 -c 1 -W 20 fd00:b2d::99 | grep -o '1 packets received'; \
         sudo ip6tables -t nat -S POSTROUTING | grep -c 'fd00:b2d::/64.*MASQUERADE'; \
         docker rm -f one >/dev/null; docker network rm six >/dev/null",
        "1 packets received\n1\n",
    ),
];

/// A time server in a container, made of the guest's own; it answers over UDP.
const PUBLISHED: &[Row] = &[
    (
        "a port published over UDP",
        "tar -ch /etc/passwd /usr/sbin/chronyd \
         $(/lib64/ld-linux-x86-64.so.2 --list /usr/sbin/chronyd | grep -o '/[^ ]*') 2>/dev/null | docker import - ntp >/dev/null; \
         docker run -d --name ntp -p 1123:123/udp ntp /usr/sbin/chronyd -d -x -u root 'local stratum 10' 'allow all' \
         'cmdport 0' 'pidfile /chronyd.pid' >/dev/null; \
         for i in $(seq 30); do bash -c 'exec 3<>/dev/udp/10.0.2.15/1123; printf \"#%047d\" 0 | tr 0 \"\\0\" >&3; \
         timeout 1 head -c 48 <&3 | wc -c' | grep -x 48 && break; done; docker logs ntp >&2; docker rm -f ntp >/dev/null",
        "48\n",
    ),
    (
        "a port published over IPv6",
        "docker network create --ipv6 --subnet fd00:b2d:1::/64 six >/dev/null; \
         docker run -d --name web --network six -p 8082:80 box sh -c 'echo six > /index.html; exec httpd -f -h /' \
         >/dev/null; for host in fd00:b2d:1::1 ::1; do for i in $(seq 30); do \
         wget -q -T 3 -O - \"http://[$host]:8082/\" && break; sleep 0.2; done; done; \
         docker rm -f web >/dev/null; docker network rm six >/dev/null",
        "six\nsix\n",
    ),
];

/// What moby, and what runs in containers, asks of the kernel; check-config.sh wants more than 10000 keys.
const LIMITS: Row = (
    "limits of the kernel",
    "cd /proc/sys; cat kernel/keys/root_maxkeys kernel/keys/root_maxbytes fs/inotify/max_user_watches \
     fs/inotify/max_user_instances net/netfilter/nf_conntrack_max vm/max_map_count net/ipv4/ip_forward \
     net/ipv6/conf/all/forwarding",
    "1000000\n25000000\n1048576\n8192\n262144\n262144\n1\n1\n",
);

const CONTAINERS: &[Row] = &[
    ("containerd has found its store at once", "grep -c 'containerd is started again' /boot.log", "0\n"),
    (
        "both walls stand",
        "docker run --rm box sh -c 'cat /proc/self/attr/current; grep ^Seccomp: /proc/self/status'",
        "docker-default (enforce)\nSeccomp:\t2\n",
    ),
    (
        "limits",
        "docker run --rm -m 32m --memory-swap 48m --cpus 0.5 --pids-limit 50 box \
         sh -c 'cd /sys/fs/cgroup; cat memory.max memory.swap.max cpu.max pids.max'",
        "33554432\n16777216\n50000 100000\n50\n",
    ),
    (
        "block I/O limit",
        "docker run --rm --device-read-bps /dev/sr0:1mb box cat /sys/fs/cgroup/io.max | cut -d ' ' -f 2",
        "rbps=1048576\n",
    ),
    (
        "memory limit is enforced",
        "docker run --name greedy -m 16m --memory-swap 16m box sh -c 'head -c 64m /dev/zero | tail' >/dev/null 2>&1; \
         docker inspect -f '{{.State.OOMKilled}}' greedy; docker rm greedy >/dev/null",
        "true\n",
    ),
    ("open files", "docker run --rm box sh -c 'ulimit -n'", "1048576\n"),
    (
        "privileged",
        "docker run --rm box mount -t tmpfs none /tmp 2>/dev/null || echo refused; \
         docker run --rm --privileged box sh -c 'mount -t tmpfs none /tmp && echo mounted'",
        "refused\nmounted\n",
    ),
    ("init", "docker run --rm --init box cat /proc/1/comm", "docker-init\n"),
    (
        "volumes",
        "docker volume create vol >/dev/null; docker run --rm -v vol:/v box sh -c 'echo kept > /v/x'; \
         docker run --rm -v vol:/v box cat /v/x; docker volume rm vol >/dev/null",
        "kept\n",
    ),
    (
        "health check",
        "docker run -d --name well --health-cmd true --health-interval 1s box sleep 1000 >/dev/null; \
         until docker inspect -f '{{.State.Health.Status}}' well | grep -x healthy; do sleep 0.5; done; \
         docker rm -f well >/dev/null",
        "healthy\n",
    ),
    (
        "restart policy",
        "docker run -d --name again --restart on-failure:2 box false >/dev/null; \
         until docker inspect -f '{{.RestartCount}} {{.State.Status}}' again | grep '2 exited'; do sleep 0.5; done; \
         docker rm -f again >/dev/null",
        "2 exited\n",
    ),
    (
        "terminal, statistics, export and the like",
        "docker run -d --name made box sh -c 'echo made > /made; exec sleep 1000' >/dev/null; \
         docker exec -t made tty | tr -d '\\r'; docker stats --no-stream --format '{{.Name}}'; \
         docker commit made kept >/dev/null; docker export made | docker import - flat >/dev/null; \
         docker rm -f made >/dev/null; docker save -o kept.tar kept; docker rmi kept >/dev/null; \
         docker load -q -i kept.tar; docker run --rm kept cat /made; docker run --rm flat /bin/cat /made",
        "/dev/pts/0\nmade\nLoaded image: kept:latest\nmade\nmade\n",
    ),
    (
        "events",
        "docker run --rm --name seen box true; docker events --since 10m --until $(($(date +%s) + 1)) \
         --filter container=seen --filter event=create --filter event=start --filter event=die --format '{{.Action}}'",
        "create\nstart\ndie\n",
    ),
    (
        "build with the classic builder",
        "mkdir -p b; cp /bin/busybox b/; printf 'FROM scratch\\nCOPY busybox /\\nRUN [\"/busybox\", \"true\"]\\n\
         ENTRYPOINT [\"/busybox\", \"echo\"]\\n' > b/Dockerfile; \
         DOCKER_BUILDKIT=0 docker build -q -t built b >/dev/null 2>&1; docker run --rm built done",
        "done\n",
    ),
    (
        "swarm of one",
        "docker swarm init --advertise-addr 10.0.2.15 >/dev/null; \
         docker service create -q --detach --name one --no-resolve-image box sleep 1000 >/dev/null; \
         until docker service ls --format '{{.Replicas}}' | grep 1/1; do sleep 1; done; \
         docker swarm leave --force >/dev/null",
        "1/1\n",
    ),
];

#[test]
fn what_people_do_with_docker_works() -> Result<()> {
    let lab = Lab::new("docker-features")?;
    let mut vm = Vm::plan(&lab).forward(WEB_PORT).start()?;
    let docker = vm.docker()?;
    let ssh = vm.ssh()?;
    let config = ssh.run("zcat /proc/config.gz")?;
    assert_eq!(kernel_options::complaints(&config), [""; 0], "moby's check-config.sh");
    is_complete(&docker.get("/info")?)?;
    ssh.run(MAKE_IMAGE)?;
    let page = publishes_tcp(&ssh, &docker, vm.port(WEB_PORT)?)?;
    assert_eq!(page, "published\n");
    let built = builds_with_buildkit(&ssh, &docker);
    rows::check(&ssh, &[&[LIMITS], NETWORKS, PUBLISHED, CONTAINERS].concat())?;
    built?;
    vm.press_power_button()
}

fn is_complete(info: &Value) -> Result<()> {
    let flags = ["MemoryLimit", "SwapLimit", "PidsLimit", "CPUShares", "CPUSet", "IPv4Forwarding"];
    for flag in flags {
        assert_eq!(info[flag], true, "{flag} of docker info");
    }
    assert_eq!((&info["Driver"], &info["CgroupVersion"]), (&"overlayfs".into(), &"2".into()));
    let security = info["SecurityOptions"].to_string();
    ensure!(security.contains("name=apparmor") && security.contains("name=seccomp"), "{security}");
    ensure!(info["Warnings"].is_null(), "docker info warns: {}", info["Warnings"]);
    Ok(())
}

fn publishes_tcp(ssh: &Ssh, docker: &Docker, port: u16) -> Result<String> {
    ssh.run(&format!(
        "docker run -d --name tcp -p {WEB_PORT}:80 box \
         sh -c 'echo published > /index.html; httpd -p 80 -h / && echo listening && exec sleep 1000'"
    ))?;
    docker.await_log("tcp", "listening", 1)?;
    let page = docker::page(port).context("fetching the published page")?;
    ssh.run("docker rm -f tcp")?;
    Ok(page)
}

/// As tools do that speak to the API alone: the context is the request's body.
fn builds_with_buildkit(ssh: &Ssh, docker: &Docker) -> Result<()> {
    let busybox = ssh.run_bytes("cat /bin/busybox")?;
    let mut context = tar::Builder::new(Vec::new());
    let dockerfile =
        b"FROM scratch\nCOPY busybox /\nRUN [\"/busybox\", \"true\"]\nENTRYPOINT [\"/busybox\", \"echo\"]\n";
    for (name, mode, content) in [("Dockerfile", 0o644, &dockerfile[..]), ("busybox", 0o755, &busybox)] {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(mode);
        context.append_data(&mut header, name, content)?;
    }
    let answer = docker.post_archive("/build?version=2&t=kit", &context.into_inner()?)?;
    let row = ("build with BuildKit", "docker run --rm kit done", "done\n");
    rows::check(ssh, &[row]).with_context(|| format!("the build said {answer}"))
}
