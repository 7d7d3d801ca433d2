//! Many small checks in one boot: commands in the guest and what they must print.

use anyhow::{Result, ensure};

use crate::ssh::Ssh;

/// Name, commands, what they must print.
pub type Row = (&'static str, &'static str, &'static str);

/// Runs the rows' commands in their order.
///
/// # Errors
/// When the guest does not answer.
pub fn failures(ssh: &Ssh, rows: &[Row]) -> Result<Vec<String>> {
    let mut failures = Vec::new();
    for (name, script, expected) in rows {
        let output = ssh.output(script, b"")?;
        let printed = String::from_utf8_lossy(&output.stdout);
        let stderr = String::from_utf8_lossy(&output.stderr);
        if printed != *expected {
            failures.push(format!("{name}: expected {expected:?}, got {printed:?}, stderr {stderr:?}"));
        }
    }
    Ok(failures)
}

/// Runs the rows' commands; one that fails does not hide the others.
///
/// # Errors
/// When any prints something else, or the guest does not answer.
pub fn check(ssh: &Ssh, rows: &[Row]) -> Result<()> {
    let failures = failures(ssh, rows)?;
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    Ok(())
}
