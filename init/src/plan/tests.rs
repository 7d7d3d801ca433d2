use std::{env, fs};

use b2d_sys::cmdline::KernelCmdline;

use super::*;
use crate::docs;
use crate::facts::Platform;
use crate::service::{Ready, Restart};
use crate::sysctl::Setting;

fn usual() -> Facts {
    Facts {
        cmdline: KernelCmdline::parse("loglevel=3 console=ttyS0 console=tty0"),
        memory_kib: Some(2_016_520),
        is_multiprocessor: true,
        mounted: ["/", "/proc", "/sys", "/dev"].map(Into::into).into(),
        terminals: ["tty1", "ttyS0"].map(str::to_owned).into(),
        interfaces: ["eth0", "eth1"].map(str::to_owned).into(),
        programs: ["/usr/sbin/chronyd", "/usr/sbin/crond"].into(),
        platform: Platform { name: "QEMU Standard PC".to_owned(), is_uefi: false, is_virtual: true },
        has_hardware_clock: true,
        sysctls: vec![],
    }
}

fn on_disk() -> StateFacts {
    StateFacts {
        bootsync: Some(contract::BOOTSYNC),
        bootlocal: Some(contract::BOOTLOCAL),
        is_on_disk: true,
        lacks_rsa_key: false,
        log_dir: contract::STATE_LOG_DIR.into(),
    }
}

fn bare() -> Facts {
    Facts { cmdline: KernelCmdline::parse("b2d.nodhcp b2d.noautologin"), ..usual() }
}

#[test]
fn a_program_is_read_ahead_where_there_is_room_and_a_processor_for_it() {
    for (is_multiprocessor, memory_kib, expected) in [
        (true, Some(2_016_520), true),
        (true, Some(460_000), false),
        (true, None, false),
        (false, Some(2_016_520), false),
    ] {
        let plan = rest(&Facts { is_multiprocessor, memory_kib, ..usual() }, &StateFacts::default());
        let found = plan.stages.iter().any(|stage| stage.name == "preload");
        assert_eq!(found, expected, "{is_multiprocessor} {memory_kib:?}");
    }
}

#[test]
fn plans_are_as_reviewed() {
    let platform = Platform { is_uefi: true, ..Platform::default() };
    let alone =
        Facts { interfaces: vec![], programs: [].into(), has_hardware_clock: false, platform, ..usual() };
    let in_ram = StateFacts {
        bootsync: None,
        bootlocal: None,
        is_on_disk: false,
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
fn settings_of_a_custom_image_overrule_ours() {
    const PATH: &str = "/proc/sys/vm/max_map_count";
    let sysctls = vec![Setting { path: PATH.to_owned(), value: "1048576".to_owned() }];
    let actions = kernel::settings(&Facts { sysctls, ..usual() });
    let texts = actions.iter().filter_map(|action| match action {
        Action::Write { path, text } if path == PATH => Some(text.as_str()),
        _ => None,
    });
    assert_eq!(texts.collect::<Vec<_>>(), ["262144", "1048576"]);
}

#[test]
fn the_documentation_shows_the_usual_plan() {
    let (early, rest) = (early(&usual()), rest(&usual(), &on_disk()));
    let stages = early.stages.iter().chain(&rest.stages).map(stage_row);
    let stages = format!("| stage | after | steps |\n| --- | --- | --- |\n{}", stages.collect::<String>());
    docs::check("boot-plan.md", "stages", &stages);
    let services = rest.services.iter().map(service_row).collect::<String>();
    let head = "| service | program | ready when | ends by itself | asked to end by, killed after |";
    docs::check("boot-plan.md", "services", &format!("{head}\n| --- | --- | --- | --- | --- |\n{services}"));
    let phases = crate::power::PHASES.map(|(work, limit)| format!("| {work:?} | {} s |\n", limit.as_secs()));
    docs::check(
        "boot-plan.md",
        "phases",
        &format!("| phase | at most |\n| --- | --- |\n{}", phases.concat()),
    );
}

fn stage_row(stage: &Stage) -> String {
    let step = |step: &Step| {
        let mark = match step.policy {
            Policy::Rescue => " **or rescue**",
            Policy::Warn => "",
            Policy::Optional => " *if possible*",
        };
        format!("{}{mark}", step.action).replace('|', "\\|")
    };
    let steps: Vec<String> = stage.steps.iter().map(step).collect();
    format!("| {} | {} | {} |\n", stage.name, stage.after.join(", "), steps.join("<br>"))
}

fn service_row(service: &Service) -> String {
    let ready = match service.ready {
        Ready::Started => "it runs".to_owned(),
        Ready::Path(path) => format!("`{path}` exists"),
        Ready::Ping(path) => format!("`GET /_ping` is answered on `{path}`"),
    };
    let restart = match service.restart {
        Restart::Always => "started again",
        Restart::AfterFault => "started again after a fault",
    };
    let signal = if service.stop.by_hangup { "SIGHUP" } else { "SIGTERM" };
    let grace = service.stop.grace.as_secs();
    format!("| {} | `{}` | {ready} | {restart} | {signal}, {grace} s |\n", service.id, service.argv[0])
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
