//! A DynamoDB and a DSQL of a test's own, auctions to put there, and what stands there afterwards.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::time::Duration;

use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType,
    Projection, ProjectionType, ScalarAttributeType,
};
use infra::local::dsql::{self, DsqlHandle, DsqlOptions};
use infra::local::dynamodb::{self, DynamoHandle, DynamoOptions};
use infra::local::postgres::{self, PostgresHandle, PostgresOptions};
use runtime::clients::Clients;
use schemas::geometry::Geometry;
use schemas::ids::{AccountId, BidId, ShardId, SlotId};
use schemas::item::{Aggregate, Candidate, GeometryItem, State};
use schemas::keys;
use schemas::money::{BasisPoints, Money, Price};
use schemas::time::Millis;
use settler::db::{Connection, Ledger};
use settler::provision::{NewAccount, NewSlot};
use tokio_postgres::NoTls;
use uuid::Uuid;

/// How long a test waits for the value it expects.
pub(super) const DEADLINE: Duration = Duration::from_secs(120);

pub(super) struct World {
    pub(super) dynamodb: DynamoHandle,
    pub(super) postgres: Option<PostgresHandle>,
    pub(super) dsql: DsqlHandle,
    pub(super) clients: Clients,
    pub(super) agreed: GeometryItem,
}

impl World {
    pub(super) async fn start() -> Self {
        Self::on(PostgresOptions::temporary()).await
    }

    pub(super) async fn on(options: PostgresOptions) -> Self {
        let postgres = postgres::start(options).await.unwrap();
        let dsql = dsql::start(DsqlOptions::before(postgres.database_url())).await.unwrap();
        let listen = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        let dynamodb = dynamodb::start(DynamoOptions::in_memory(listen)).await.unwrap();
        let clients = Clients::local("http://127.0.0.1:9", &dynamodb.endpoint_url()).await;
        let geometry = Geometry { window_ms: 1_000, grace_ms: 0, ..Geometry::default() };
        let agreed = GeometryItem {
            geometry,
            ttl_after_ms: infra::provision::TTL_AFTER_MS,
            outbox_buckets: schemas::limits::OUTBOX_BUCKETS,
        };
        let world = Self { dynamodb, postgres: Some(postgres), dsql, clients, agreed };
        world.create_table().await;
        world.put(world.agreed.to_attrs()).await;
        settler::provision::schema(&world.connect().await).await.unwrap();
        world
    }

    async fn create_table(&self) {
        let attribute = |name: &str| {
            let builder = AttributeDefinition::builder().attribute_name(name);
            builder.attribute_type(ScalarAttributeType::S).build().unwrap()
        };
        let key = |name: &str, kind| {
            KeySchemaElement::builder().attribute_name(name).key_type(kind).build().unwrap()
        };
        let outbox = GlobalSecondaryIndex::builder()
            .index_name(keys::OUTBOX_INDEX)
            .key_schema(key("outbox_pk", KeyType::Hash))
            .key_schema(key("outbox_sk", KeyType::Range))
            .projection(Projection::builder().projection_type(ProjectionType::KeysOnly).build())
            .build()
            .unwrap();
        let request = self.clients.dynamodb.create_table().table_name(keys::TABLE);
        request
            .billing_mode(BillingMode::PayPerRequest)
            .set_attribute_definitions(Some(["PK", "SK", "outbox_pk", "outbox_sk"].map(attribute).into()))
            .key_schema(key("PK", KeyType::Hash))
            .key_schema(key("SK", KeyType::Range))
            .global_secondary_indexes(outbox)
            .send()
            .await
            .unwrap();
    }

    pub(super) async fn put(&self, attrs: schemas::attr::Attrs) {
        let put = self.clients.dynamodb.put_item().table_name(keys::TABLE);
        put.set_item(Some(runtime::attrs::to_sdk(attrs))).send().await.unwrap();
    }

    pub(super) async fn pend(&self, aggregate: &Aggregate) {
        self.put(aggregate.to_attrs(self.agreed.outbox_buckets)).await;
    }

    pub(super) async fn remove(&self, aggregate: &Aggregate) {
        let delete = self.clients.dynamodb.delete_item().table_name(keys::TABLE);
        delete.set_key(Some(key_of(aggregate))).send().await.unwrap();
    }

    pub(super) async fn item(&self, aggregate: &Aggregate) -> Option<Aggregate> {
        let get = self.clients.dynamodb.get_item().table_name(keys::TABLE).consistent_read(true);
        let answer = get.set_key(Some(key_of(aggregate))).send().await.unwrap();
        answer.item().map(|item| Aggregate::from_attrs(&runtime::attrs::from_sdk(item).unwrap()).unwrap())
    }

    /// How many items await their decision.
    pub(super) async fn outbox_len(&self) -> usize {
        let mut count = 0;
        for pk in keys::outbox_pks(self.agreed.outbox_buckets) {
            let query = self.clients.dynamodb.query().table_name(keys::TABLE).index_name(keys::OUTBOX_INDEX);
            let query = query.key_condition_expression("outbox_pk = :pk");
            let answer =
                query.expression_attribute_values(":pk", AttributeValue::S(pk)).send().await.unwrap();
            count += answer.items().len();
        }
        count
    }

    pub(super) async fn until_outbox_is_empty(&self) {
        let waited = tokio::time::timeout(DEADLINE, async {
            while self.outbox_len().await > 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        assert!(waited.await.is_ok(), "{} auctions still await their decision", self.outbox_len().await);
    }

    pub(super) fn ledger(&self) -> Ledger {
        Ledger::stand_in(self.dsql.database_url())
    }

    pub(super) async fn connect(&self) -> Connection {
        self.ledger().connect().await.unwrap()
    }

    /// PostgreSQL itself, without what the local DSQL refuses or injects.
    pub(super) async fn postgres(&self) -> tokio_postgres::Client {
        let url = self.postgres.as_ref().unwrap().database_url();
        let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    /// Makes accounts 1 to `accounts` with a balance each, and slots 1 to `slots`.
    pub(super) async fn provision(&self, accounts: u128, balance: i128, slots: u128) {
        let connection = self.connect().await;
        let account = |number| NewAccount {
            account_id: account(number),
            name: format!("account {number}"),
            balance: Money(balance),
            credit_limit: Money(0),
            status: None,
        };
        let accounts: Vec<_> = (1..=accounts).map(account).collect();
        settler::provision::accounts(&connection, &accounts).await.unwrap();
        let slot = |number| NewSlot {
            slot_id: slot(number),
            publisher: account_of(900_000 + number),
            floor: Money(1),
        };
        let slots: Vec<_> = (1..=slots).map(slot).collect();
        settler::provision::slots(&connection, &slots).await.unwrap();
    }

    /// Every check of the settler's README answers nothing.
    pub(super) async fn assert_the_ledger_is_right(&self) {
        let client = self.postgres().await;
        let checks = checks();
        assert!(checks.len() >= 10, "{} checks were found", checks.len());
        for check in checks {
            let rows = client.query(&check, &[]).await.unwrap_or_else(|error| panic!("{check}: {error}"));
            assert!(rows.is_empty(), "{} rows answer\n{check}", rows.len());
        }
    }

    pub(super) async fn count(&self, sql: &str) -> i64 {
        self.postgres().await.query_one(sql, &[]).await.unwrap().get(0)
    }

    pub(super) async fn stop(self) {
        self.dsql.shutdown().await;
        self.dynamodb.shutdown().await;
        if let Some(postgres) = self.postgres {
            postgres.shutdown().await;
        }
    }
}

fn key_of(aggregate: &Aggregate) -> HashMap<String, AttributeValue> {
    let (pk, sk) = aggregate.key();
    HashMap::from([("PK".to_owned(), AttributeValue::S(pk)), ("SK".to_owned(), AttributeValue::S(sk))])
}

/// The SQL of the README: every block is one statement, and those that only report say so.
pub(super) fn blocks() -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../settler/README.md");
    let text = std::fs::read_to_string(path).unwrap();
    let blocks = text.split("```sql\n").skip(1);
    blocks.map(|block| block.split("```").next().unwrap().to_owned()).collect()
}

pub(super) fn checks() -> Vec<String> {
    blocks().into_iter().filter(|block| !block.contains("-- report\n")).collect()
}

pub(super) fn account(number: u128) -> AccountId {
    AccountId(Uuid::from_u128(0xacc0_0000 + number))
}

fn account_of(number: u128) -> AccountId {
    account(number)
}

pub(super) fn slot(number: u128) -> SlotId {
    SlotId(Uuid::from_u128(0x5107_0000 + number))
}

/// An auction of this slot, with bids of these accounts, the best first.
pub(super) fn auction(slot_number: u128, window: u64, bids: &[(u128, u64)]) -> Aggregate {
    let candidate = |(place, (number, units)): (usize, &(u128, u64))| Candidate {
        bid_id: BidId(Uuid::from_u128(
            (slot_number << 32) + u128::from(window << 8) + u128::try_from(place).unwrap(),
        )),
        account_id: account(*number),
        region: "eu-central-1".parse().unwrap(),
        amount: Price::from_units(*units).unwrap(),
        quality: BasisPoints::ONE,
        event_time: Millis(window * 1_000 + 5),
        shard_id: ShardId("shardId-000000000000".to_owned()),
        sequence: "49590338271490256608559692538361571095921575989136588898".parse().unwrap(),
        sub_sequence: 3,
    };
    let amounts = bids.iter().map(|(_, units)| *units);
    Aggregate {
        slot_id: slot(slot_number),
        window_start: Millis(window * 1_000),
        window_end: Millis(window * 1_000 + 1_000),
        bids: u64::try_from(bids.len()).unwrap(),
        bidders: u64::try_from(bids.iter().map(|(number, _)| number).collect::<BTreeSet<_>>().len()).unwrap(),
        amount_sum: Money(amounts.clone().map(i128::from).sum()),
        amount_min: Price::from_units(amounts.clone().min().unwrap()).unwrap(),
        amount_max: Price::from_units(amounts.max().unwrap()).unwrap(),
        duplicates: 0,
        regions: BTreeMap::new(),
        candidates: bids.iter().enumerate().map(candidate).collect(),
        next_amount: None,
        next_score: None,
        shard_id: ShardId("shardId-000000000000".to_owned()),
        replay: None,
        state: State::Pending,
        decision: None,
        held_error: None,
        ttl: None,
    }
}
