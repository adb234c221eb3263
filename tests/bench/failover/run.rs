//! One run: a cluster comes up, suffers one fault, and gets over it.

use std::env;
use std::error::Error;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use chinthe::lab::Sandbox;

use crate::cluster::HOLDER;
use crate::fault::Fault;
use crate::record::{Idle, Run};
use crate::stage::{Stage, pause};
use crate::trial::Trial;

/// By how much of an advertisement interval the fault comes later in one run than in the one before: the golden section,
/// by which few points already lie evenly. The first one is in the middle.
const SHIFT: f64 = 0.618_034;

/// Which directory the nodes' logs are to be left in.
pub(crate) const LOGS: &str = "CHINTHE_BENCH_LOGS";

/// Makes the run.
pub(crate) fn run(sandbox: Sandbox, trial: &Trial) -> Result<Run, Box<dyn Error>> {
    let Trial { fault, contender, number, longest: _, turn } = *trial;
    let mut stage = Stage::start(sandbox, trial)?;
    pause(turn.wait());
    let noise = stage.noise(&contender, contender.interval.mul_f64((0.5 + number as f64 * SHIFT).fract()))?;
    let mut run = Run {
        fault: fault.name().into(),
        contender: contender.name.into(),
        quorum: contender.quorum(),
        interval_ms: contender.interval.as_secs_f64() * 1000.0,
        number,
        noise_ms: noise.as_secs_f64() * 1000.0,
        load: load()?,
        fence: stage.cluster.fence(),
        fault_phase: None,
        end_phase: None,
        idle: Vec::new(),
    };
    if !contender.fenced() && run.fence.as_deref() == Some("on") {
        return Err("its kernel was to be without a fence, and it has one".into());
    }
    if fault == Fault::Idle {
        run.idle = idle(stage, trial.watch().least)?;
        return Ok(run);
    }
    let mark = stage.mark();
    fault.inflict(&mut stage.cluster)?;
    let moved = |name: &str| name != HOLDER || !fault.moves_the_vip();
    run.fault_phase = Some(stage.watch(&mark, trial.watch(), moved));
    if let Some(watch) = trial.watch_of_the_end() {
        let mark = stage.mark();
        fault.undo(&mut stage.cluster)?;
        run.end_phase = Some(stage.watch(&mark, watch, |name| name == HOLDER));
    }
    if let Some(logs) = env::var_os(LOGS)
        && contender.is_ours()
    {
        let name = format!("{}-{}-{number}.log", fault.name(), contender.name);
        fs::write(Path::new(&logs).join(name), stage.cluster.logs())?;
    }
    pause(turn.stay());
    Ok(run)
}

/// What each node costs while nobody asks it anything.
fn idle(stage: Stage, time: Duration) -> Result<Vec<Idle>, Box<dyn Error>> {
    let mut cluster = stage.leave();
    // What the client left behind has been cleared away by then.
    pause(Duration::from_secs(1));
    let (began, before) = (Instant::now(), cluster.costs()?);
    pause(time);
    let (elapsed, after) = (began.elapsed().as_secs_f64(), cluster.costs()?);
    let node = |(before, after): (crate::cost::Cost, crate::cost::Cost)| Idle {
        cpu_percent: 100.0 * after.cpu_ns.saturating_sub(before.cpu_ns) as f64 / 1e9 / elapsed,
        rss_mib: after.rss_kib as f64 / 1024.0,
        pss_mib: after.pss_kib as f64 / 1024.0,
    };
    Ok(before.into_iter().zip(after).map(node).collect())
}

fn load() -> Result<f64, Box<dyn Error>> {
    let text = fs::read_to_string("/proc/loadavg")?;
    Ok(text.split(' ').next().unwrap_or_default().parse()?)
}
