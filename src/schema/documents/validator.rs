//! What the document store is told: `$jsonSchema` and index specifications.

use mongodb::bson::{Bson, Document, doc};

use super::definition::{Collection, Direction, Index, Kind, Node};

/// The validator of a collection.
pub fn validator(collection: &Collection) -> Document {
    doc! { "$jsonSchema": schema(&collection.root) }
}

fn schema(node: &Node) -> Document {
    let mut schema = Document::new();
    match node.kinds.as_slice() {
        [] => {}
        [kind] => {
            schema.insert("bsonType", kind.name());
        }
        kinds => {
            let names: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
            schema.insert("bsonType", names);
        }
    }
    let required: Vec<&str> = node
        .fields
        .iter()
        .filter(|(_, node)| node.required)
        .map(|(name, _)| name.as_str())
        .collect();
    if !required.is_empty() {
        schema.insert("required", required);
    }
    if !node.fields.is_empty() {
        let fields = node.fields.iter();
        let fields: Document = fields
            .map(|(name, node)| (name.clone(), Bson::Document(self::schema(node))))
            .collect();
        schema.insert("properties", fields);
    }
    if let Some(element) = &node.element {
        schema.insert("items", self::schema(element));
    }
    if let Some(pattern) = &node.pattern {
        schema.insert("pattern", pattern);
    }
    if !node.choices.is_empty() {
        let mut choices: Vec<Bson> = node.choices.iter().map(Bson::from).collect();
        if node.kinds.contains(&Kind::Null) {
            choices.push(Bson::Null);
        }
        schema.insert("enum", choices);
    }
    for (name, bound) in [("minimum", node.min), ("maximum", node.max)] {
        if let Some(bound) = bound {
            schema.insert(name, bound);
        }
    }
    for (name, bound) in [
        ("minLength", node.min_len),
        ("maxLength", node.max_len),
        ("minItems", node.min_items),
    ] {
        if let Some(bound) = bound {
            schema.insert(name, i64::from(bound));
        }
    }
    schema
}

/// The index as `createIndexes` and `listIndexes` write it.
pub fn index_command(index: &Index) -> Document {
    let keys: Document = index
        .keys
        .iter()
        .map(|(field, direction)| {
            let number = match direction {
                Direction::Asc => 1,
                Direction::Desc => -1,
            };
            (field.clone(), Bson::Int32(number))
        })
        .collect();
    let mut command = doc! { "key": keys, "name": &index.name };
    if index.unique {
        command.insert("unique", true);
    }
    if index.sparse {
        command.insert("sparse", true);
    }
    if let (Some(kind), Some((field, _))) = (index.partial, index.keys.first()) {
        command.insert(
            "partialFilterExpression",
            doc! { field: { "$type": kind.name() } },
        );
    }
    if let Some(seconds) = index.expire_after_seconds {
        command.insert("expireAfterSeconds", seconds);
    }
    command
}

#[cfg(test)]
mod tests {
    use super::super::named;
    use super::*;

    #[test]
    fn rules_become_a_json_schema() {
        let users = validator(named("users").unwrap());
        let schema = users.get_document("$jsonSchema").unwrap();
        let required: Vec<_> = schema.get_array("required").unwrap().clone();
        assert!(required.contains(&Bson::from("email")));
        let properties = schema.get_document("properties").unwrap();
        let roles = properties.get_document("roles").unwrap();
        let items = roles.get_document("items").unwrap();
        assert_eq!(items.get_array("enum").unwrap().len(), 4);
        let wallet = properties.get_document("hardware_wallet").unwrap();
        assert!(
            wallet
                .get_document("properties")
                .unwrap()
                .contains_key("type")
        );
    }

    #[test]
    fn an_index_that_may_meet_null_has_only_texts() {
        let users = named("users").unwrap();
        let index = users.indexes.iter().find(|one| one.name.contains("tron"));
        let command = index_command(index.unwrap());
        assert_eq!(
            command,
            doc! {
                "key": { "tron_address": 1 }, "name": "users_tron_address_unique", "unique": true,
                "partialFilterExpression": { "tron_address": { "$type": "string" } },
            }
        );
    }
}
