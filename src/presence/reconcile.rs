//! Looks for what nobody said: users who were announced online and are gone since a node died, and users of this node whose
//! announcement a crash or an outage swallowed. It announces nothing itself.

use std::{collections::HashSet, time::Duration};

use super::announcer::{Announcer, OnlineView, Who, ask};
use crate::store::says_online;

/// Users looked at together.
const PAGE: usize = 256;

/// Rounds, one after another, for ever.
pub(super) async fn run<V: OnlineView>(announcer: &Announcer, view: &V) {
    let pace = announcer.pace;
    tokio::time::sleep(pace.grace).await;
    // None at the start: whoever is to come back had the grace for it.
    let mut suspects = None;
    loop {
        match round(announcer, view, suspects.as_ref()).await {
            Ok(absent) => suspects = Some(absent),
            // The announcer tells of what is away. Whoever was missing then was perhaps not.
            Err(reason) => {
                tracing::debug!("a look at who is announced online was given up: {reason}");
                suspects = Some(HashSet::new());
            }
        }
        tokio::time::sleep(jittered(pace.round, rand::random())).await;
    }
}

/// Finds who is announced online and is not: who was so in the round before too is looked at by the announcer. Returns the
/// others.
async fn round<V: OnlineView>(
    announcer: &Announcer,
    view: &V,
    suspects: Option<&HashSet<Who>>,
) -> Result<HashSet<Who>, String> {
    let mut absent = HashSet::new();
    let mut after: Option<Who> = None;
    loop {
        let page = announcer.store.announced_online(after.as_ref(), PAGE as u64).await.map_err(|e| e.to_string())?;
        let Some(last) = page.last().cloned() else { break };
        let online = ask(view, &page).await?;
        for (who, _) in page.into_iter().zip(online).filter(|(_, is_online)| !is_online) {
            match suspects {
                // Another node may have seen the user leave a moment ago.
                None => announcer.missing(who),
                Some(suspects) if suspects.contains(&who) => announcer.lost(&who.0, &who.1),
                Some(_) => drop(absent.insert(who)),
            }
        }
        after = Some(last);
    }
    for page in view.here().chunks(PAGE) {
        let announced = announcer.store.announced(page).await.map_err(|e| e.to_string())?;
        for who in page.iter().filter(|who| !announced.get(who).is_some_and(|generation| says_online(*generation))) {
            announcer.joined(&who.0, &who.1);
        }
    }
    Ok(absent)
}

/// A quarter more or less: nodes that started together do not ask together for ever. `random` is from 0 to 1.
fn jittered(round: Duration, random: f64) -> Duration {
    round.mul_f64(0.75 + random / 2.0)
}
