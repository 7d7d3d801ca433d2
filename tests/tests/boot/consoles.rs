//! Screens and serial lines: who is logged in there, and what a line without anybody does to the machine.

use anyhow::{Result, ensure};
use tests::console::Console;
use tests::container::IMPORT_IMAGE;
use tests::direct::direct;
use tests::second_console::SecondConsole;
use tests::{Deadline, Lab, Vm};

/// What xhyve and PXE setups pass: two consoles and nothing of ours.
const APPEND: &str = "loglevel=3 console=tty0 console=ttyS0";

/// A line of the picture that a login begins with.
const PICTURE: &str = "~~~~ `-.";

/// The logins that PID 1 keeps, and how often each has ended.
const LOGINS: &str = "sudo service --list | grep ^getty-";

/// Takes the hardware of a serial port away, or gives it back: the node stays, and is dead meanwhile.
/// Source: Linux drivers/tty/serial/8250/8250_core.c, serial8250_unregister_port().
const DEAD_PORT: &str = "port=$(readlink -f /sys/class/tty/ttyS2/device | sed 's,.*/pnp0/,,; s,/.*,,'); \
    echo $port | sudo tee /sys/bus/pnp/drivers/serial/unbind >/tmp/port";
const LIVING_PORT: &str = "sudo tee /sys/bus/pnp/drivers/serial/bind </tmp/port";

/// Waits are 0.1 s, 0.2 s, 0.4 s, ... so by the fifth end 3 s have passed, and by the ninth a minute.
const DEAD_LOGIN: &str = "until sudo service getty-ttyS2 status | grep 'waits to be started again, ended by itself [5-9] times'; \
    do sleep 0.2; done";
const LIVING_LOGIN: &str = "until sudo service getty-ttyS2 status | grep 'is running'; do sleep 0.2; done";

#[test]
fn without_network_every_console_has_a_shell_with_docker() -> Result<()> {
    let lab = Lab::new("no-nic")?;
    let mut vm = Vm::plan(&lab)
        .boot(direct(&lab, APPEND)?)
        .without_nic()
        .with_second_console(SecondConsole::Serial)
        .start()?;
    vm.await_docker()?;
    let console = vm.console();
    console.expect("$ ", Deadline::reply())?;
    let import = format!(
        "{{ {IMPORT_IMAGE}; }} >/dev/null && docker run --rm --network none b2d-test /bin/busybox id -u"
    );
    assert_eq!(run(console, &import)?, "0\n");
    let logins = run(console, LOGINS)?;
    for terminal in ["tty1", "ttyS0", "ttyS1", "ttyS2", "ttyS3"] {
        ensure!(logins.contains(&format!("getty-{terminal} is running ")), "{terminal}:\n{logins}");
    }
    run(console, DEAD_PORT)?;
    ensure!(run(console, DEAD_LOGIN)?.contains("waits"), "a dead line is tried less and less often");
    run(console, LIVING_PORT)?;
    run(console, LIVING_LOGIN)?;

    let second = vm.second_console();
    assert_eq!(run(second, "tty; id -un")?, "/dev/ttyS1\ndocker\n");
    // boot2docker-cli reads the address that follows; a vt100 has no colours anyway.
    ensure!(run(second, "ip addr show dev lo")?.contains("inet 127.0.0.1/8 "), "an address among colours");
    nothing_typed_during_a_login_is_lost(second)?;
    vm.console().type_line("sudo poweroff")?;
    vm.await_end()
}

fn run(console: &mut Console, command: &str) -> Result<String> {
    let (output, status) = console.run(command, Deadline::reply())?;
    ensure!(status == 0, "{command}: exit status {status}: {output}");
    Ok(output)
}

/// What is typed after the picture and before the prompt, while the scripts of the login run.
fn nothing_typed_during_a_login_is_lost(console: &mut Console) -> Result<()> {
    console.type_line("exit")?;
    console.expect(PICTURE, Deadline::reply())?;
    console.type_line("echo typed''-ahead")?;
    console.expect_line("typed-ahead", Deadline::reply())?;
    // Nobody answers what `resize` asks; it must not take the next line for an answer.
    console.type_line("resize")?;
    console.type_line("echo put''-back; stty size")?;
    console.expect_line("put-back", Deadline::reply())?;
    console.expect_line("24 80", Deadline::reply())?;
    Ok(())
}

#[test]
fn consoles_ask_for_the_password_if_told_to() -> Result<()> {
    let lab = Lab::new("no-autologin")?;
    let append = format!("{APPEND} b2d.noautologin");
    let mut vm =
        Vm::plan(&lab).boot(direct(&lab, &append)?).with_second_console(SecondConsole::Serial).start()?;
    let console = vm.console();
    for (password, answer) in [("wrong", "Login incorrect"), ("tcuser", PICTURE)] {
        let before = console.expect(" login: ", Deadline::boot())?;
        ensure!(!before.contains("docker@"), "somebody was logged in without a password: {before}");
        console.type_line("docker")?;
        console.expect("Password: ", Deadline::reply())?;
        console.type_line(password)?;
        console.expect(answer, Deadline::reply())?;
    }
    assert_eq!(run(console, "tty; id -un; sudo -n id -un")?, "/dev/ttyS0\ndocker\nroot\n");
    vm.second_console().expect(" login: ", Deadline::reply())?;
    let logins = run(vm.console(), LOGINS)?;
    assert_eq!(logins.matches("is running").count(), 5, "{logins}");
    assert!(!logins.contains("ended by itself"), "lines where nobody answers are left alone:\n{logins}");
    vm.press_power_button()
}
