//! Names and lines that users, other programs and the boot tests rely on.
//! A value here is an interface: changing one is a change users can see.

/// File system label of the data partition.
pub const DATA_LABEL: &str = "boot2docker-data";
/// File system label of the swap partition.
pub const SWAP_LABEL: &str = "boot2dockerswap";
/// First bytes of a disk that asks to be formatted; the name field of the first tar member there.
pub const MAGIC: &str = "boot2docker, please format-me";

/// Docker's data root; a link into the data disk.
pub const DOCKER_DIR: &str = "/var/lib/docker";
/// Everything users keep across boots apart from containers; a link into the data disk.
pub const STATE_DIR: &str = "/var/lib/boot2docker";
/// Shell code that sets the daemon's variables.
pub const PROFILE: &str = "/var/lib/boot2docker/profile";
/// Hook that runs before Docker, which waits for it.
pub const BOOTSYNC: &str = "/var/lib/boot2docker/bootsync.sh";
/// Hook that runs in the background once Docker was started.
pub const BOOTLOCAL: &str = "/var/lib/boot2docker/bootlocal.sh";
/// Output of [`BOOTLOCAL`].
pub const BOOTLOCAL_LOG: &str = "/var/log/bootlocal.log";
/// User files unpacked over `/home/docker` at every boot.
pub const USERDATA: &str = "/var/lib/boot2docker/userdata.tar";
/// Extra certificate authorities, `*.pem` and `*.crt`.
pub const CERTS_DIR: &str = "/var/lib/boot2docker/certs";
/// TLS material of our own making.
pub const TLS_DIR: &str = "/var/lib/boot2docker/tls";
/// Where sshd's configuration and host keys persist.
pub const SSH_STATE_DIR: &str = "/var/lib/boot2docker/ssh";
/// Where sshd looks for its configuration; a link to [`SSH_STATE_DIR`].
pub const SSH_DIR: &str = "/usr/local/etc/ssh";
/// The machine's persistent name.
pub const HOSTNAME_FILE: &str = "/var/lib/boot2docker/etc/hostname";
/// The name, or a pattern for one, that a custom image gives a machine nobody named.
pub const CUSTOM_HOSTNAME: &str = "/usr/share/boot2docker/custom/hostname";
/// Fixed addresses of a custom image, as those on the data disk; a file may be named by a card's hardware address too.
pub const CUSTOM_NETWORK_DIR: &str = "/usr/share/boot2docker/custom/network";
/// dockerd's configuration in a custom image, for when the data disk has none.
pub const CUSTOM_DAEMON_JSON: &str = "/usr/share/boot2docker/custom/daemon.json";
/// A custom image's [`BOOTSYNC`], for when the data disk has none.
pub const CUSTOM_BOOTSYNC: &str = "/usr/share/boot2docker/custom/bootsync.sh";
/// A custom image's [`BOOTLOCAL`], for when the data disk has none.
pub const CUSTOM_BOOTLOCAL: &str = "/usr/share/boot2docker/custom/bootlocal.sh";
/// Name of a machine nobody named.
pub const DEFAULT_HOSTNAME: &str = "boot2docker";
/// Log directory on the data disk.
pub const STATE_LOG_DIR: &str = "/var/lib/boot2docker/log";
/// Log directory in RAM, for what starts before the data disk is there.
pub const LOG_DIR: &str = "/var/log";
/// Log of the boot from stage 0 on, with kernel time stamps.
pub const BOOT_LOG: &str = "/boot.log";
/// The older name of [`BOOT_LOG`].
pub const BOOT_LOG_LINK: &str = "/var/log/boot2docker.log";

/// Run-time state shared between our programs.
pub const RUN_DIR: &str = "/run/boot2docker";
/// `KEY=value` lines about the data disk: `DEVICE`, `MOUNTPOINT`, `FSTYPE`, `SOURCE`, `REASON`.
pub const DATA_DISK_FILE: &str = "/run/boot2docker/data-disk";
/// Services live below here, each in a cgroup of its own; containers live elsewhere.
pub const SERVICES_CGROUP: &str = "/sys/fs/cgroup/b2d";
/// containerd's further arguments, one a line.
pub const CONTAINERD_ARGS: &str = "/run/boot2docker/containerd.args";
/// dockerd's configuration made of a custom image's, when that counts: [`CUSTOM_DAEMON_JSON`].
pub const DAEMON_JSON: &str = "/run/boot2docker/daemon.json";
/// dockerd's arguments, one a line.
pub const DOCKERD_ARGS: &str = "/run/boot2docker/dockerd.args";
/// chronyd's servers, `*.sources` files in its own format: `<interface>.sources` from DHCP, `profile.sources` from
/// `NTP_SERVER`.
pub const NTP_DIR: &str = "/run/boot2docker/ntp";
/// What the profile exports, `KEY=value` lines, for services and hooks. Written before any of them starts.
pub const PROFILE_ENV: &str = "/run/boot2docker/profile.env";
/// The same as a shell script, for logins and commands over SSH; user `docker` may read it.
pub const PROFILE_SCRIPT: &str = "/run/boot2docker/profile.sh";
/// Resource limits the profile wants for the daemons, `NAME NUMBER` lines; not there if it wants none.
pub const DAEMON_LIMITS: &str = "/run/boot2docker/daemon.limits";
/// crond's further arguments, one a line.
pub const CROND_ARGS: &str = "/run/boot2docker/crond.args";
/// Which sources chronyd uses at all: those of [`NTP_DIR`] and a pool, the former only, or none.
pub const TIME_CONF: &str = "/run/boot2docker/chrony/sources.conf";
/// The hypervisor's clocks, in chrony's words.
pub const HOST_CLOCK_CONF: &str = "/run/boot2docker/chrony/host-clock.conf";
/// Time servers the profile names, in chrony's words.
pub const PROFILE_TIME_SOURCES: &str = "/run/boot2docker/ntp/profile.sources";
/// What is wrong now, one file per program, one fact a line; shown at logins.
pub const MOTD_DIR: &str = "/run/boot2docker/motd.d";
/// Lease state, one file per interface.
pub const NET_STATE_DIR: &str = "/run/boot2docker/net";
/// PID 1's control socket, for root only.
pub const CONTROL_SOCKET: &str = "/run/boot2docker/init.sock";
/// The boot as `name start_ms end_ms` lines, milliseconds since kernel start: `kernel`, `stage0`, `stage:NAME`,
/// `step:STAGE/NAME`, `service:NAME` (until ready), and `processor`, the processor time of PID 1 until Docker answered.
pub const TIMELINE: &str = "/run/boot2docker/timeline";

/// Docker's daemon.
pub const DOCKERD: &str = "/usr/sbin/dockerd";
/// The Docker API's local socket.
pub const DOCKER_SOCKET: &str = "/var/run/docker.sock";
/// dockerd's process id.
pub const DOCKER_PID: &str = "/var/run/docker.pid";
/// containerd's socket.
pub const CONTAINERD_SOCKET: &str = "/run/containerd/containerd.sock";
/// dockerd's log, under the name that stays; a link to where the profile wants it.
pub const DOCKER_LOG_LINK: &str = "/var/log/docker.log";
/// Port of the Docker API with TLS.
pub const DOCKER_TLS_PORT: u16 = 2376;

/// Uid of user `docker`; hard-coded in mount commands of others.
pub const DOCKER_UID: u32 = 1000;
/// Gid of `staff`, the primary group of user `docker`; hard-coded in mount commands of others.
pub const STAFF_GID: u32 = 50;
/// Home of user `docker`.
pub const DOCKER_HOME: &str = "/home/docker";

/// Where programs are searched for, by us and by non-login shells.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Start of the console line once the Docker API answers; the elapsed time follows in parentheses.
pub const DOCKER_READY: &str = "boot2docker: docker is ready";
/// Start of the console line once sshd listens.
pub const SSH_READY: &str = "boot2docker: ssh is ready";
/// Start of the console line before the reason for a rescue shell.
pub const RESCUE: &str = "boot2docker: rescue:";
/// Start of the console line that says how long the way down took, in seconds.
pub const SHUT_DOWN: &str = "boot2docker: shut down in ";
/// Start of the last console line of an orderly end: every file system was unmounted or read-only.
pub const CLEAN_END: &str = "boot2docker: all file systems are clean";
