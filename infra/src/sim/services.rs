//! The services together, with the checker that watches what reaches them.

use schemas::attr::{Attr, Attrs};
use schemas::bid::Bid;
use schemas::ids::ShardId;
use schemas::intake::to_record_line;
use schemas::record::{encode_block, tick};

use super::call::{Answer, Call, Life, Reply, Trouble};
use super::checker::Checker;
use super::coverage::{Coverage, Met};
use super::model::ledger::{Injected, LedgerModel};
use super::model::stream::{Moment, StreamModel};
use super::model::table::TableModel;
use super::setting::{BEGINNING_MS, Setting};
use super::words::{Foreign, Service};

/// The services and the checker.
#[derive(Debug)]
pub struct Services {
    /// Kinesis.
    pub stream: StreamModel,
    /// DynamoDB.
    pub table: TableModel,
    /// Aurora DSQL.
    pub ledger: LedgerModel,
    /// What watches them.
    pub checker: Checker,
}

impl Services {
    /// Services that were provisioned.
    #[must_use]
    pub fn new(setting: &Setting) -> Self {
        let mut checker = Checker::new(setting);
        let stream = StreamModel::new(setting, BEGINNING_MS, &mut checker);
        Self { stream, table: TableModel::new(setting), ledger: LedgerModel::new(setting), checker }
    }

    /// Carries out a call.
    pub fn on_call(&mut self, life: Life, call: &Call, moment: &mut Moment<'_>, injected: Injected) -> Reply {
        match call.service() {
            Service::Stream => self.stream.on_call(call, moment, &mut self.checker),
            Service::Table => {
                if let Call::Put(item) = call {
                    self.meet_writer(life, item, moment.coverage);
                }
                let reply = self.table.on_call(call, moment, &mut self.checker);
                if let (Call::Put(_), Ok(Answer::Stands(Some(_)))) = (call, &reply) {
                    moment.coverage.meet(Met::Replay);
                }
                reply
            }
            Service::Ledger => self.on_ledger(life, call, moment, injected),
        }
    }

    fn on_ledger(&mut self, life: Life, call: &Call, moment: &mut Moment<'_>, injected: Injected) -> Reply {
        let (reply, writes) = match call {
            Call::Read(reads) => (self.ledger.read(life, reads), None),
            Call::Write(writes) => {
                let luck = (injected, &mut *moment.chance);
                (self.ledger.write(life, writes, luck, &mut self.checker), Some(writes))
            }
            _ => (Err(Trouble::Refused("not an operation of the ledger")), None),
        };
        let coverage = &mut *moment.coverage;
        match (&reply, writes) {
            (Err(Trouble::Sql("40001", text)), _) if injected == Injected::Nothing => {
                let met = if text.contains("OC001") { Met::SchemaConflict } else { Met::DataConflict };
                coverage.meet(met);
            }
            (Ok(Answer::Seen(seen)), _) if !seen.settlements.is_empty() => coverage.meet(Met::SecondSettler),
            (Ok(_), Some(writes)) => {
                let met = |sale: bool| if sale { Met::Sale } else { Met::NoSale };
                writes.settlements.iter().for_each(|row| coverage.meet(met(row.outcome.is_ok())));
                let passed = writes.evidence.iter().filter(|row| row.passed_over.is_some());
                passed.for_each(|_| coverage.meet(Met::PassedOver));
            }
            _ => {}
        }
        reply
    }

    /// Whether who puts an item is still the one who reads its shard.
    fn meet_writer(&self, life: Life, item: &Attrs, coverage: &mut Coverage) {
        if let Some(Attr::S(shard)) = item.get("shard_id") {
            let owner = self.table.owner(&ShardId(shard.clone()));
            if owner.is_some_and(|owner| owner != life.to_string()) {
                coverage.meet(Met::LateWriter);
            }
        }
    }

    /// Another writer puts a record.
    pub fn on_foreign(&mut self, kind: Foreign, bids: &[Bid], moment: &mut Moment<'_>) {
        let data: Vec<u8> = match kind {
            Foreign::Garbage => b"{\"not\":\"a bid\"}".to_vec(),
            Foreign::Tick => tick(),
            Foreign::Stray => encode_block(bids),
            Foreign::Empty => Vec::new(),
            Foreign::Json => {
                let mut lines = Vec::new();
                bids.iter().for_each(|bid| to_record_line(bid, &mut lines));
                lines.extend_from_slice(b"{\"not\":\"a bid\"}\n");
                lines
            }
        };
        let key = bids.first().map(|bid| bid.slot_id.to_string()).unwrap_or_default();
        self.stream.append((&key, &data), None, moment, &mut self.checker);
    }

    /// The items of the table.
    pub fn items(&self) -> impl Iterator<Item = &Attrs> {
        self.table.items()
    }
}
