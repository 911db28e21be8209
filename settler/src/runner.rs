//! The transaction runner: the one place where a transaction is run and tried again.
//!
//! An attempt begins by reading its own keys, so a conflict, a lost reply and a second settler share one path: what
//! was decided already is read, never decided again. Writes go last, in sorted order, in one flight with COMMIT.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use futures::future::join_all;
use runtime::backoff::Backoff;
use schemas::geometry::Pricing;
use schemas::ids::{AccountId, SettlementId, SlotId};
use schemas::item::{Aggregate, Decision, Outcome};
use schemas::money::{Money, Price};
use schemas::settlement::{derived_id, settlement_id};
use schemas::time::Millis;
use tokio_postgres::Row;
use tokio_postgres::error::SqlState;
use uuid::Uuid;

use crate::core::attempt::{Next, next, occ_code};
use crate::core::choose::{Account, Evidence, Slot, Verdict, choose};
use crate::db::{Connection, Ledger, chain};
use crate::error::Error;
use crate::statements::Statements;

/// Full jitter between attempts.
const BACKOFF: Backoff = Backoff { base: Duration::from_millis(5), cap: Duration::from_secs(2) };
/// How long one attempt may take: DSQL ends a transaction after 5 minutes, ours are short.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(15);
/// Attempts after which a batch is given back to be halved or tried later.
const ATTEMPTS_MAX: u32 = 16;

/// One attempt that did not end well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// From 0.
    pub attempt: u32,
    /// The code, `lost` for a connection that went away.
    pub sqlstate: String,
    /// The code in the text, on DSQL.
    pub occ_code: Option<String>,
    /// The pause that followed.
    pub delay: Duration,
}

/// A decided auction: the row as it stands in the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    /// The decision.
    pub decision: Decision,
    /// The digest that the row carries.
    pub digest: String,
    /// Whether this attempt made the row.
    pub new: bool,
}

/// How a batch ended.
#[derive(Debug)]
pub struct Ended {
    /// Rows by key; none when the batch was given back or refused.
    pub rows: Result<BTreeMap<SettlementId, Decided>, GivenBack>,
    /// Attempts that did not end well.
    pub conflicts: Vec<Conflict>,
}

/// Why a batch has no rows.
#[derive(Debug)]
pub enum GivenBack {
    /// It kept conflicting.
    Conflicts,
    /// The ledger refuses it for good.
    Refused(String),
}

/// Settles a batch: attempt after attempt under full jitter.
///
/// # Errors
/// When the ledger cannot be reached any more.
pub async fn settle(
    ledger: &Ledger,
    connection: &mut Connection,
    batch: &[Aggregate],
    pricing: Pricing,
) -> Result<Ended, Error> {
    let mut conflicts = Vec::new();
    for attempt in 0..ATTEMPTS_MAX {
        if connection.is_spent() {
            *connection = ledger.connect().await?;
        }
        let tried = tokio::time::timeout(ATTEMPT_TIMEOUT, once(connection, batch, pricing)).await;
        let error = match tried {
            Ok(Ok(rows)) => return Ok(Ended { rows: Ok(rows), conflicts }),
            Ok(Err(error)) => Some(error),
            Err(_) => None,
        };
        let code = error.as_ref().and_then(|error| error.code()).map(SqlState::code);
        let text = error.as_ref().map_or_else(|| "no answer in time".to_owned(), |error| chain(error));
        let meaning = next(code);
        if meaning == Next::Refused {
            return Ok(Ended { rows: Err(GivenBack::Refused(text)), conflicts });
        }
        let slower = if meaning == Next::Slower { 4 } else { 0 };
        let delay = BACKOFF.delay(attempt + slower, runtime::chance::unit());
        let sqlstate = code.unwrap_or("lost").to_owned();
        tracing::debug!(attempt, sqlstate, text, ?delay, "attempt tried again");
        conflicts.push(Conflict { attempt, sqlstate, occ_code: occ_code(&text).map(str::to_owned), delay });
        if meaning == Next::Unknown {
            *connection = reconnect(ledger).await?;
        } else {
            // What is left of the transaction is ended; a connection that cannot even do that is replaced.
            if connection.client.batch_execute("ROLLBACK").await.is_err() {
                *connection = reconnect(ledger).await?;
            }
        }
        tokio::time::sleep(delay).await;
    }
    Ok(Ended { rows: Err(GivenBack::Conflicts), conflicts })
}

async fn reconnect(ledger: &Ledger) -> Result<Connection, Error> {
    let mut attempt = 0;
    loop {
        match ledger.connect().await {
            Ok(connection) => return Ok(connection),
            Err(error) if attempt >= ATTEMPTS_MAX => return Err(error),
            Err(error) => {
                tracing::warn!(%error, attempt, "ledger away, connecting again");
                tokio::time::sleep(BACKOFF.delay(attempt + 4, runtime::chance::unit())).await;
                attempt += 1;
            }
        }
    }
}

async fn once(
    connection: &mut Connection,
    batch: &[Aggregate],
    pricing: Pricing,
) -> Result<BTreeMap<SettlementId, Decided>, tokio_postgres::Error> {
    let client = &connection.client;
    if connection.statements.is_none() {
        connection.statements = Some(Statements::prepare(client).await?);
    }
    let statements = connection.statements.clone().expect("prepared above");
    let keys: Vec<Uuid> = batch.iter().map(|one| settlement_id(&one.slot_id, one.window_start).0).collect();
    let slots: Vec<Uuid> = batch.iter().map(|one| one.slot_id.0).collect();
    let mut accounts: Vec<Uuid> =
        batch.iter().flat_map(|one| one.candidates.iter().map(|candidate| candidate.account_id.0)).collect();
    accounts.sort_unstable();
    accounts.dedup();
    let keys: [&(dyn tokio_postgres::types::ToSql + Sync); 1] = [&keys];
    let slots: [&(dyn tokio_postgres::types::ToSql + Sync); 1] = [&slots];
    let accounts: [&(dyn tokio_postgres::types::ToSql + Sync); 1] = [&accounts];
    let (began, settled, slots, accounts) = futures::join!(
        client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ"),
        client.query(&statements.settled, &keys),
        client.query(&statements.slots, &slots),
        client.query(&statements.accounts, &accounts),
    );
    began?;
    let mut rows: BTreeMap<SettlementId, Decided> = settled?.iter().filter_map(read_decided).collect();
    let slots: BTreeMap<SlotId, Slot> = slots?.iter().filter_map(read_slot).collect();
    let mut accounts: BTreeMap<AccountId, Account> = accounts?.iter().filter_map(read_account).collect();
    let before = accounts.clone();
    let settled_at = runtime::clock::now();
    let mut plan = Plan { writes: Vec::new(), settled_at };
    for aggregate in batch {
        let id = settlement_id(&aggregate.slot_id, aggregate.window_start);
        if rows.contains_key(&id) {
            continue;
        }
        let (verdict, evidence) = choose(aggregate, slots.get(&aggregate.slot_id), &mut accounts, pricing);
        rows.insert(id, plan.decide(id, aggregate, &verdict, &evidence));
    }
    for (account, after) in &accounts {
        let seen = before[account];
        if seen.version != after.version {
            let paid = Money(seen.balance.0 - after.balance.0);
            plan.writes.push(Write::Debit {
                account: *account,
                paid,
                seen: seen.version,
                version: after.version,
            });
        }
    }
    let mut flight: Vec<Flight<'_>> =
        plan.writes.iter().map(|write| write.send(client, &statements, settled_at)).collect();
    flight.push(Box::pin(async { client.batch_execute("COMMIT").await.map(|()| 1) }));
    // Joined futures are polled in order, so the statements leave in this order, and COMMIT with them.
    for done in join_all(flight).await {
        done?;
    }
    Ok(rows)
}

struct Plan {
    writes: Vec<Write>,
    settled_at: Millis,
}

enum Write {
    Settlement {
        id: SettlementId,
        aggregate: Box<Aggregate>,
        verdict: Verdict,
    },
    Evidence {
        id: SettlementId,
        aggregate: Box<Aggregate>,
        evidence: Evidence,
    },
    Entry {
        id: SettlementId,
        account: AccountId,
        direction: &'static str,
        amount: Price,
        version: Option<i64>,
    },
    Debit {
        account: AccountId,
        paid: Money,
        seen: i64,
        version: i64,
    },
}

impl Plan {
    fn decide(
        &mut self,
        id: SettlementId,
        aggregate: &Aggregate,
        verdict: &Verdict,
        evidence: &[Evidence],
    ) -> Decided {
        self.writes.push(Write::Settlement { id, aggregate: Box::new(aggregate.clone()), verdict: *verdict });
        for evidence in evidence {
            self.writes.push(Write::Evidence {
                id,
                aggregate: Box::new(aggregate.clone()),
                evidence: *evidence,
            });
        }
        let outcome = match verdict {
            Verdict::Sale { rank, price, version, publisher } => {
                let winner = aggregate.candidates[*rank].account_id;
                let entry = |account, direction, version| Write::Entry {
                    id,
                    account,
                    direction,
                    amount: *price,
                    version,
                };
                self.writes.push(entry(winner, "DEBIT", Some(*version)));
                self.writes.push(entry(*publisher, "CREDIT", None));
                Outcome::Sale { winner, clearing_price: *price }
            }
            Verdict::NoSale(reason) => Outcome::NoSale { reason: reason.as_str().to_owned() },
        };
        let decision = Decision { settlement_id: id, settled_at: self.settled_at, outcome };
        Decided { decision, digest: aggregate.digest(), new: true }
    }
}

type Flight<'a> = Pin<Box<dyn Future<Output = Result<u64, tokio_postgres::Error>> + Send + 'a>>;

impl Write {
    fn send<'a>(&'a self, client: &'a tokio_postgres::Client, to: &'a Statements, at: Millis) -> Flight<'a> {
        match self {
            Self::Settlement { id, aggregate, verdict } => Box::pin(async move {
                let (winner, price, reason) = match verdict {
                    Verdict::Sale { rank, price, .. } => {
                        (aggregate.candidates.get(*rank), Some(price.to_string()), None)
                    }
                    Verdict::NoSale(reason) => (None, None, Some(reason.as_str())),
                };
                let outcome = if winner.is_some() { "SALE" } else { "NO_SALE" };
                let (start, end) = (aggregate.window_start.to_string(), aggregate.window_end.to_string());
                let (account, bid) = (winner.map(|one| one.account_id.0), winner.map(|one| one.bid_id.0));
                let (amount, region) =
                    (winner.map(|one| one.amount.to_string()), winner.map(|one| one.region.to_string()));
                let (shard, sequence) =
                    (winner.map(|one| one.shard_id.0.as_str()), winner.map(|one| one.sequence.as_str()));
                let (sub, digest) = (winner.map(|one| i64::from(one.sub_sequence)), aggregate.digest());
                client
                    .execute(
                        &to.settlement,
                        &[
                            &id.0,
                            &aggregate.slot_id.0,
                            &start,
                            &end,
                            &outcome,
                            &account,
                            &bid,
                            &amount,
                            &price,
                            &reason,
                            &digest,
                            &at.to_string(),
                            &region,
                            &shard,
                            &sequence,
                            &sub,
                        ],
                    )
                    .await
            }),
            Self::Evidence { id, aggregate, evidence } => Box::pin(async move {
                let candidate = &aggregate.candidates[evidence.rank];
                let rank = i64::try_from(evidence.rank).expect("at most 16 candidates");
                let passed_over = evidence.passed_over.map(|reason| reason.as_str());
                let balance = evidence.account.map(|account| account.balance.to_string());
                let limit = evidence.account.map(|account| account.credit_limit.to_string());
                let version = evidence.account.map(|account| account.version);
                let (region, amount) = (candidate.region.to_string(), candidate.amount.to_string());
                client
                    .execute(
                        &to.evidence,
                        &[
                            &id.0,
                            &rank,
                            &candidate.bid_id.0,
                            &candidate.account_id.0,
                            &region,
                            &amount,
                            &passed_over,
                            &balance,
                            &limit,
                            &version,
                        ],
                    )
                    .await
            }),
            Self::Entry { id, account, direction, amount, version } => Box::pin(async move {
                let entry = derived_id(id, direction);
                let amount = amount.to_string();
                let at = at.to_string();
                client
                    .execute(&to.entry, &[&entry, &id.0, &account.0, direction, &amount, version, &at])
                    .await
            }),
            Self::Debit { account, paid, seen, version } => Box::pin(async move {
                client.execute(&to.debit, &[&account.0, &paid.to_string(), seen, version]).await
            }),
        }
    }
}

fn read_decided(row: &Row) -> Option<(SettlementId, Decided)> {
    let id = SettlementId(row.get(0));
    let outcome = match row.get::<_, &str>(1) {
        "SALE" => Outcome::Sale {
            winner: AccountId(row.get::<_, Option<Uuid>>(2)?),
            clearing_price: row.get::<_, Option<String>>(3)?.parse().ok()?,
        },
        _ => Outcome::NoSale { reason: row.get::<_, Option<String>>(4)? },
    };
    let settled_at = Millis(u64::try_from(row.get::<_, i64>(6)).ok()?);
    let decision = Decision { settlement_id: id, settled_at, outcome };
    Some((id, Decided { decision, digest: row.get(5), new: false }))
}

fn read_slot(row: &Row) -> Option<(SlotId, Slot)> {
    let floor = row.get::<_, String>(2).parse().ok()?;
    Some((SlotId(row.get(0)), Slot { publisher: AccountId(row.get(1)), floor }))
}

fn read_account(row: &Row) -> Option<(AccountId, Account)> {
    let (balance, limit): (String, String) = (row.get(1), row.get(2));
    let account =
        Account { balance: balance.parse().ok()?, credit_limit: limit.parse().ok()?, version: row.get(3) };
    Some((AccountId(row.get(0)), account))
}
