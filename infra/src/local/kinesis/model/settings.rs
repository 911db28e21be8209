//! How a stream stands and what it is set to, in the service's words.

/// Whether a stream can be used, in the service's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It is being made and takes nothing yet.
    Creating,
    /// It is there.
    Active,
    /// Its shards or retention change; it takes and gives records.
    Updating,
    /// It is going.
    Deleting,
}

impl Status {
    /// The service's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "CREATING",
            Self::Active => "ACTIVE",
            Self::Updating => "UPDATING",
            Self::Deleting => "DELETING",
        }
    }
}

/// How a stream is paid for. Here it decides who sets the number of shards, and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub enum Mode {
    /// The caller sets the number of shards.
    Provisioned,
    /// The service does; this engine leaves them at four.
    OnDemand,
}

impl Mode {
    /// The service's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Provisioned => "PROVISIONED",
            Self::OnDemand => "ON_DEMAND",
        }
    }
}

/// Who decides in which shard a record is put.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub enum Distribution {
    /// The caller, by the record's key.
    #[default]
    UserPartitionKey,
    /// The service, which ignores keys: here each record goes to the next open shard.
    Auto,
}

impl Distribution {
    /// The service's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UserPartitionKey => "USER_PARTITION_KEY",
            Self::Auto => "AUTO",
        }
    }
}
