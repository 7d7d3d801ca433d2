use std::{env, fs};

use b2d_sys::cmdline::KernelCmdline;

use super::*;

fn usual() -> Facts {
    Facts {
        cmdline: KernelCmdline::parse("loglevel=3 console=ttyS0 console=tty0"),
        mounted: ["/", "/proc", "/sys", "/dev"].map(Into::into).into(),
        terminals: ["tty1", "ttyS0"].map(str::to_owned).into(),
        interfaces: ["eth0", "eth1"].map(str::to_owned).into(),
        programs: ["/usr/sbin/chronyd", "/usr/sbin/crond"].into(),
    }
}

fn on_disk() -> StateFacts {
    StateFacts {
        has_bootsync: true,
        has_bootlocal: true,
        lacks_rsa_key: false,
        log_dir: contract::STATE_LOG_DIR.into(),
    }
}

fn bare() -> Facts {
    Facts { cmdline: KernelCmdline::parse("b2d.nodhcp b2d.noautologin"), ..usual() }
}

#[test]
fn plans_are_as_reviewed() {
    let alone = Facts { interfaces: vec![], programs: [].into(), ..usual() };
    let in_ram = StateFacts {
        has_bootsync: false,
        has_bootlocal: false,
        lacks_rsa_key: true,
        log_dir: contract::LOG_DIR.into(),
    };
    let rows = [
        ("usual", print(&usual(), &on_disk())),
        ("no-dhcp-no-autologin", print(&bare(), &on_disk())),
        ("no-network-no-hooks", print(&alone, &in_ram)),
    ];
    for (name, text) in rows {
        let path = format!("{}/tests/plans/{name}.txt", env!("CARGO_MANIFEST_DIR"));
        if env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&path, &text).unwrap();
        }
        assert_eq!(text, fs::read_to_string(&path).unwrap(), "{path}; UPDATE_GOLDEN=1 rewrites it");
    }
}

#[test]
fn every_stage_can_begin_and_every_started_service_exists() {
    for (facts, state) in
        [(usual(), on_disk()), (bare(), StateFacts::default()), (Facts::default(), on_disk())]
    {
        let (early, rest) = (early(&facts), rest(&facts, &state));
        let stages: Vec<&Stage> = early.stages.iter().chain(&rest.stages).collect();
        for stage in &stages {
            assert!(!stage.steps.is_empty(), "{} is empty", stage.name);
            for name in &stage.after {
                assert!(stages.iter().any(|other| other.name == *name), "{} waits for {name}", stage.name);
            }
            for step in &stage.steps {
                if let Action::Start { service, .. } | Action::Announce { service, .. } = &step.action {
                    assert!(rest.services.iter().any(|known| known.id == *service), "{service} is unknown");
                }
            }
        }
    }
}

#[test]
fn waiting_for_an_empty_stage_is_waiting_for_what_it_waited_for() {
    let one = vec![Action::PlanTheRest];
    let stages = without_empty(vec![
        stage("a", &[], one.clone()),
        stage("b", &["a"], vec![]),
        stage("c", &["b"], vec![]),
        stage("d", &["a", "c"], one),
    ]);
    let names: Vec<_> = stages.iter().map(|stage| (stage.name, stage.after.as_slice())).collect();
    assert_eq!(names, [("a", [].as_slice()), ("d", ["a"].as_slice())]);
}
