"""The official Python clients, with the URIs that `lucid credentials show` prints.

usage: clients.py DOCUMENT_URI CACHE_URI
"""

import sys
import unittest
import uuid

import pymongo
import pymongo.errors
import redis
from bson import Decimal128, Int64

DOCUMENT_URI, CACHE_URI = sys.argv[1:3]


class Document(unittest.TestCase):
    def setUp(self):
        self.client = pymongo.MongoClient(DOCUMENT_URI, serverSelectionTimeoutMS=5000)
        self.collection = self.client.lucid[f"clients_{uuid.uuid4().hex}"]
        self.addCleanup(self.client.close)
        self.addCleanup(self.collection.drop)

    def test_documents_are_written_read_changed_and_deleted(self):
        durable = self.collection.with_options(
            write_concern=pymongo.WriteConcern(w=1, j=True)
        )
        made = durable.insert_one({"name": "a", "n": Int64(1), "fee": Decimal128("1.5")})
        self.assertTrue(made.acknowledged)
        found = self.collection.find_one({"_id": made.inserted_id})
        self.assertEqual((found["n"], found["fee"]), (1, Decimal128("1.5")))
        changed = self.collection.update_one({"name": "a"}, {"$inc": {"n": 2}})
        self.assertEqual((changed.matched_count, changed.modified_count), (1, 1))
        self.assertEqual(self.collection.find_one()["n"], 3)
        self.assertEqual(self.collection.delete_one({"name": "a"}).deleted_count, 1)

    def test_unique_indexes_and_aggregations_work(self):
        self.collection.create_index("name", unique=True)
        self.collection.insert_many([{"name": str(n), "n": n} for n in range(100)])
        with self.assertRaises(pymongo.errors.DuplicateKeyError):
            self.collection.insert_one({"name": "7"})
        stages = [{"$match": {"n": {"$gte": 50}}}, {"$group": {"_id": None, "sum": {"$sum": "$n"}}}]
        self.assertEqual(list(self.collection.aggregate(stages))[0]["sum"], sum(range(50, 100)))

    def test_the_client_account_manages_no_users(self):
        with self.assertRaises(pymongo.errors.OperationFailure):
            self.client.admin.command("createUser", "x", pwd="x", roles=["root"])

    def test_nobody_gets_in_without_the_password(self):
        host = DOCUMENT_URI.split("@")[1]
        stranger = pymongo.MongoClient(f"mongodb://{host.split('?')[0]}?directConnection=true")
        self.addCleanup(stranger.close)
        with self.assertRaises(pymongo.errors.OperationFailure):
            stranger.lucid.secret.find_one()


class Cache(unittest.TestCase):
    def setUp(self):
        self.client = redis.Redis.from_url(CACHE_URI, decode_responses=True)
        self.key = f"lucid:test:clients:{uuid.uuid4().hex}"
        self.addCleanup(self.client.close)
        self.addCleanup(self.client.unlink, self.key)

    def test_values_are_written_read_and_expire(self):
        self.assertEqual(self.client.ping(), True)
        self.client.set(self.key, "value", ex=100)
        self.assertEqual(self.client.get(self.key), "value")
        self.assertGreater(self.client.ttl(self.key), 90)

    def test_structures_scripts_and_transactions_work(self):
        with self.client.pipeline(transaction=True) as pipe:
            pipe.zadd(self.key, {"a": 1, "b": 2}).zcard(self.key)
            self.assertEqual(pipe.execute(), [2, 2])
        self.assertEqual(self.client.eval("return redis.call('ZCARD', KEYS[1])", 1, self.key), 2)

    def test_settings_can_be_read(self):
        self.assertEqual(self.client.config_get("appendonly")["appendonly"], "yes")
        self.assertGreater(int(self.client.config_get("maxmemory")["maxmemory"]), 0)
        self.assertIn("redis_version", self.client.info())

    def test_dangerous_commands_are_refused(self):
        for command in (["FLUSHALL"], ["KEYS", "*"], ["CONFIG", "SET", "dir", "/"], ["SHUTDOWN"]):
            with self.assertRaises(redis.exceptions.NoPermissionError, msg=command):
                self.client.execute_command(*command)

    def test_nobody_gets_in_without_the_password(self):
        address = CACHE_URI.split("@")[1].split("/")[0]
        stranger = redis.Redis.from_url(f"redis://{address}/0")
        self.addCleanup(stranger.close)
        with self.assertRaises(redis.exceptions.AuthenticationError):
            stranger.ping()


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], "-v"])
