//! The benchmark's eye inside a system: tells on the console when things are ready, and runs commands for the host.
//!
//! The same static program runs in every system that is compared, started as soon as the system starts what is not
//! its own. It uses the standard library alone, so that `rustc` compiles it without anything else.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Where the host sends its commands.
const PORT: u16 = 2999;

/// First address that QEMU's user-mode network gives away: sshd answers there once the network is configured.
const SSH: ([u8; 4], u16) = ([10, 0, 2, 15], 22);

/// Docker's socket.
const DOCKER: &str = "/var/run/docker.sock";

/// The serial port, opened anew for each line: a login program may hang up who held it before.
const CONSOLE: &str = "/dev/ttyS0";

/// Begins each line for the host.
const PREFIX: &str = "b2d-bench:";

/// Time between two looks at something that is not there yet.
const PAUSE: Duration = Duration::from_millis(10);

/// Not to block on the kernel's log. Source: asm-generic/fcntl.h, O_NONBLOCK.
const NON_BLOCKING: i32 = 0o4000;

/// What the kernel says before it starts the first program. Source: init/main.c, run_init_process().
const FIRST_PROGRAM: &str = "Run /init as init process";

/// A container whose only line tells that it runs.
const CONTAINER: [&str; 7] = ["run", "--rm", "--pull=never", "b2d-bench", "/bin/busybox", "echo", "alive"];

/// Where programs are searched for.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

fn main() -> ExitCode {
    // A second probe finds the port taken, and leaves.
    let Ok(listener) = TcpListener::bind(("0.0.0.0", PORT)) else { return ExitCode::FAILURE };
    tell("probe", uptime());
    thread::spawn(await_ssh);
    thread::spawn(await_docker);
    for connection in listener.incoming().flatten() {
        // Who hangs up early has lost interest in the answer.
        thread::spawn(move || drop(serve(connection)));
    }
    ExitCode::SUCCESS
}

/// Tells when sshd greets at the machine's own address.
fn await_ssh() {
    let address = SocketAddr::from(SSH);
    let greets = || -> io::Result<bool> {
        let mut greeting = [0; 4];
        TcpStream::connect(address)?.read_exact(&mut greeting)?;
        Ok(&greeting == b"SSH-")
    };
    while !greets().unwrap_or(false) {
        pause();
    }
    tell("ssh", uptime());
}

/// Tells when Docker answers, and when a container has written its first line.
fn await_docker() {
    while request("GET", "/_ping", "").is_err() {
        pause();
    }
    let (since_start, busy) = (uptime(), busy());
    tell("api", since_start);
    tell("busy", busy);
    tell("pid1", first_program().unwrap_or(f64::NAN));
    let output = Command::new("docker").args(CONTAINER).env("PATH", PATH).stderr(Stdio::null()).output();
    let is_alive = output.is_ok_and(|output| output.stdout == b"alive\n");
    tell("container", if is_alive { uptime() } else { f64::NAN });
}

/// Reads one line: `start N`, or a command for the shell. Answers with exit status, seconds and output.
fn serve(connection: TcpStream) -> io::Result<()> {
    let mut line = String::new();
    BufReader::new(connection.try_clone()?).read_line(&mut line)?;
    let line = line.trim_end();
    if let Some(count) = line.strip_prefix("start ").and_then(|count| count.parse().ok()) {
        return start(count, connection);
    }
    let started = Instant::now();
    let output = Command::new("/bin/sh")
        .args(["-c", &format!("exec 2>&1; {line}")])
        .env("PATH", PATH)
        .stdin(Stdio::null())
        .output()?;
    answer(connection, output.status.code().unwrap_or(-1), started.elapsed(), &output.stdout)
}

fn answer(mut connection: TcpStream, status: i32, took: Duration, output: &[u8]) -> io::Result<()> {
    connection.write_all(format!("{status} {:.6}\n", took.as_secs_f64()).as_bytes())?;
    connection.write_all(output)
}

/// Creates `count` containers, then starts them all at once; tells how long until the last has started.
fn start(count: usize, connection: TcpStream) -> io::Result<()> {
    let body = r#"{"Image":"b2d-bench","Cmd":["/bin/busybox","sleep","86400"]}"#;
    for index in 0..count {
        request("POST", &format!("/containers/create?name=many-{index}"), body)?;
    }
    let started = Instant::now();
    let threads: Vec<_> = (0..count)
        .map(|index| thread::spawn(move || request("POST", &format!("/containers/many-{index}/start"), "")))
        .collect();
    let ends: Vec<_> = threads.into_iter().map(thread::JoinHandle::join).collect();
    let failed = ends.iter().filter(|end| !matches!(end, Ok(Ok(())))).count();
    answer(connection, i32::try_from(failed).unwrap_or(i32::MAX), started.elapsed(), b"")
}

/// Asks Docker's API for something, and succeeds when it does as asked.
fn request(method: &str, path: &str, body: &str) -> io::Result<()> {
    let mut socket = UnixStream::connect(DOCKER)?;
    let length = body.len();
    let head = "Host: docker\r\nConnection: close\r\nContent-Type: application/json\r\n";
    write!(socket, "{method} {path} HTTP/1.1\r\n{head}Content-Length: {length}\r\n\r\n{body}")?;
    let mut status = String::new();
    BufReader::new(socket).read_line(&mut status)?;
    if status.starts_with("HTTP/1.1 2") { Ok(()) } else { Err(io::Error::other(status)) }
}

/// Returns the seconds from the kernel's start to its first program, from the kernel's log.
fn first_program() -> Option<f64> {
    let mut log = OpenOptions::new().read(true).custom_flags(NON_BLOCKING).open("/dev/kmsg").ok()?;
    let mut record = [0; 8192];
    loop {
        // One read returns one record: "priority,sequence,microseconds,flags;text".
        let count = match log.read(&mut record) {
            Ok(count) => count,
            // Older records were overwritten meanwhile; the next read goes on behind them.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => continue,
            Err(_) => return None,
        };
        let text = String::from_utf8_lossy(&record[..count]);
        if text.contains(FIRST_PROGRAM) {
            let microseconds: f64 = text.split(',').nth(2)?.parse().ok()?;
            return Some(microseconds / 1e6);
        }
    }
}

/// Returns the seconds since the kernel's start.
fn uptime() -> f64 {
    let text = fs::read_to_string("/proc/uptime").unwrap_or_default();
    text.split(' ').next().and_then(|seconds| seconds.parse().ok()).unwrap_or(f64::NAN)
}

/// Returns how long processors have worked since the kernel's start, all together, in seconds.
fn busy() -> f64 {
    /// Unit of the counters. Source: proc_stat(5), USER_HZ.
    const PER_SECOND: f64 = 100.0;
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let counters: Vec<f64> =
        text.lines().next().unwrap_or_default().split(' ').filter_map(|word| word.parse().ok()).collect();
    // user, nice, system, idle, waiting for disks, interrupts, deferred interrupts
    match counters[..] {
        [user, nice, system, _, _, hard, soft, ..] => (user + nice + system + hard + soft) / PER_SECOND,
        _ => f64::NAN,
    }
}

/// Writes one line for the host; other programs write to the console as well, so it begins on a line of its own.
fn tell(what: &str, seconds: f64) {
    let line = format!("\n{PREFIX} {what} {seconds:.3}\n");
    let written =
        File::options().write(true).open(CONSOLE).and_then(|mut port| port.write_all(line.as_bytes()));
    if let Err(error) = written {
        eprintln!("{CONSOLE}: {error}");
    }
}

#[expect(clippy::disallowed_methods, reason = "the standard library cannot wait for a socket to appear")]
fn pause() {
    thread::sleep(PAUSE);
}
