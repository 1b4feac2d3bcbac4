"""Lifecycle policies, rollovers, and settings of the cluster."""

import time

from suite import fails, has, holds, refused, same, works


def _wait(check, what):
    end = time.monotonic() + 30
    while True:
        found = check()
        if found:
            return found
        holds(time.monotonic() < end, what)
        time.sleep(0.1)


def _policy(t, phases, word="policy"):
    name = t.name(word)
    same(t.es.ilm.put_lifecycle(name=name, policy={"phases": phases}).body, {"acknowledged": True})
    t.cleanup(lambda: t.es.ilm.delete_lifecycle(name=name))
    return name


def _often(t):
    pace = {"indices.lifecycle.poll_interval": "1s", "indices.lifecycle.steady_clock": "0s"}
    t.es.cluster.put_settings(persistent=pace)
    t.cleanup(lambda: t.es.cluster.put_settings(persistent=dict.fromkeys(pace)))


def _series(t, word, **settings):
    alias = t.name(word)
    t.es.indices.create(index=f"{alias}-000001", aliases={alias: {"is_write_index": True}}, settings=settings)
    return alias


@works("POST /{alias}/_rollover", "without conditions", "the next number, six digits; the write index moves")
def an_alias_rolls_over(t):
    alias = _series(t, "logs")
    done = t.es.indices.rollover(alias=alias)
    has(done.body, {"acknowledged": True, "shards_acknowledged": True, "old_index": f"{alias}-000001", "new_index": f"{alias}-000002", "rolled_over": True, "dry_run": False, "conditions": {}})
    same(t.es.indices.get_alias(name=alias).body, {f"{alias}-000001": {"aliases": {alias: {"is_write_index": False}}}, f"{alias}-000002": {"aliases": {alias: {"is_write_index": True}}}})
    same(t.es.index(index=alias, document={"n": 1})["_index"], f"{alias}-000002")


@works("POST /{alias}/_rollover", "`max_docs`, `max_age`, `max_size`, `max_primary_shard_size`, `max_primary_shard_docs`, `min_*`; `dry_run`")
def conditions_of_a_rollover(t):
    alias = _series(t, "logs")
    t.es.index(index=alias, document={"n": 1}, refresh=True)
    done = t.es.indices.rollover(alias=alias, conditions={"max_docs": 5, "max_age": "7d", "max_primary_shard_size": "50gb", "max_primary_shard_docs": 9})
    has(done.body, {"rolled_over": False, "conditions": {"[max_docs: 5]": False, "[max_age: 7d]": False, "[max_primary_shard_size: 50gb]": False, "[max_primary_shard_docs: 9]": False}})
    same(t.es.indices.exists(index=f"{alias}-000002").body, False)
    done = t.es.indices.rollover(alias=alias, conditions={"max_docs": 1}, dry_run=True)
    has(done.body, {"acknowledged": False, "rolled_over": False, "dry_run": True, "conditions": {"[max_docs: 1]": True}})
    same(t.es.indices.exists(index=f"{alias}-000002").body, False)
    done = t.es.indices.rollover(alias=alias, conditions={"max_docs": 1, "max_size": "50gb"})
    has(done.body, {"rolled_over": True, "conditions": {"[max_docs: 1]": True, "[max_size: 50gb]": False}})
    done = t.es.indices.rollover(alias=alias, conditions={"max_age": "0s", "min_docs": 1})
    has(done.body, {"rolled_over": False, "conditions": {"[max_age: 0s]": True, "[min_docs: 1]": False}})


@works("POST /{alias}/_rollover/{index}", "`settings`, `mappings`, `aliases`", "400 for an alias of several indices without a write index, and for an index")
def a_rollover_to_a_name(t):
    alias = _series(t, "logs")
    t.es.indices.rollover(alias=alias, new_index=t.name("next"), mappings={"properties": {"n": {"type": "long"}}}, settings={"refresh_interval": "9s"}, aliases={t.name("more"): {}})
    made = t.es.indices.get(index=t.name("next"))[t.name("next")]
    same((made["mappings"]["properties"], made["settings"]["index"]["refresh_interval"]), ({"n": {"type": "long"}}, "9s"))
    same(set(made["aliases"]), {alias, t.name("more")})
    fails(lambda: t.es.indices.rollover(alias=alias), 400, "illegal_argument_exception", "does not match pattern '^.*-\\d+$'")
    fails(lambda: t.es.indices.rollover(alias=t.index(word="plain")), 400, "illegal_argument_exception")
    fails(lambda: t.es.indices.rollover(alias=t.name("no")), 400, "illegal_argument_exception")


@works("PUT /_ilm/policy/{name}", "phases `hot`, `warm`, `cold`, `delete`; actions `rollover`, `set_priority`, `readonly`, `forcemerge`, `allocate` of replicas, `delete`")
@works("GET /_ilm/policy/{name}", "", "version, date, and who uses it")
@works("DELETE /_ilm/policy/{name}", "", "400 while an index uses it")
def policies_are_kept(t):
    phases = {"hot": {"min_age": "0ms", "actions": {"rollover": {"max_age": "30d", "max_docs": 1000}, "set_priority": {"priority": 100}}}, "warm": {"min_age": "1d", "actions": {"readonly": {}, "forcemerge": {"max_num_segments": 1}, "allocate": {"number_of_replicas": 0}}}, "delete": {"min_age": "90d", "actions": {"delete": {}}}}
    name = _policy(t, phases)
    shown = t.es.ilm.get_lifecycle(name=name)[name]
    same(shown["version"], 1)
    has(shown["policy"]["phases"]["hot"]["actions"], phases["hot"]["actions"])
    same(shown["policy"]["phases"]["delete"], {"min_age": "90d", "actions": {"delete": {"delete_searchable_snapshot": True}}})
    t.es.ilm.put_lifecycle(name=name, policy={"phases": phases})
    index = t.index(settings={"lifecycle.name": name})
    shown = t.es.ilm.get_lifecycle(name=name)[name]
    same(shown["in_use_by"]["indices"], [index])
    holds(name in t.es.ilm.get_lifecycle().body, "all policies")
    fails(lambda: t.es.ilm.delete_lifecycle(name=name), 400, "illegal_argument_exception", name)
    same(t.es.ilm.remove_policy(index=index).body, {"has_failures": False, "failed_indexes": []})
    t.es.ilm.delete_lifecycle(name=name)
    fails(lambda: t.es.ilm.get_lifecycle(name=name), 404, "resource_not_found_exception", name)
    fails(lambda: t.es.ilm.delete_lifecycle(name=name), 404, "resource_not_found_exception", name)


@works("PUT /_ilm/policy/{name}", "what cannot be", "400: unknown phases and actions, actions in the wrong phase")
def impossible_policies(t):
    put = lambda phases: t.es.ilm.put_lifecycle(name=t.name("p"), policy={"phases": phases})
    for phases, said in (({"tepid": {"actions": {}}}, "tepid"), ({"hot": {"actions": {"nonsense": {}}}}, "nonsense"), ({"warm": {"actions": {"rollover": {"max_docs": 1}}}}, "rollover"), ({"hot": {"actions": {"rollover": {}}}}, "rollover"), ({"hot": {"min_age": "soon", "actions": {}}}, "min_age")):
        fails(lambda phases=phases: put(phases), 400, says=said)


def _action(phase, action, body):
    return lambda t: t.es.ilm.put_lifecycle(name=t.name("p"), policy={"phases": {phase: {"actions": {"rollover": {"max_docs": 1}, action: body} if phase == "hot" else {action: body}}}})


for phase, action, body in (("hot", "shrink", {"number_of_shards": 1}), ("hot", "searchable_snapshot", {"snapshot_repository": "r"}), ("hot", "downsample", {"fixed_interval": "1h"}), ("warm", "migrate", {}), ("hot", "unfollow", {}), ("delete", "wait_for_snapshot", {"policy": "p"})):
    refused("PUT /_ilm/policy/{name}", f"action: {action}", action)(_action(phase, action, body))

refused("PUT /_ilm/policy/{name}", "phase `frozen`", "frozen")(lambda t: t.es.ilm.put_lifecycle(name=t.name("p"), policy={"phases": {"frozen": {"actions": {}}}}))


@works("lifecycle", "an index through its phases", "rolled over, made read-only, deleted; looked at every `indices.lifecycle.poll_interval`")
@works("GET /{index}/_ilm/explain", "phase, action, step, age, the policy as it is carried out", "`managed: false` for the others")
def an_index_lives_and_dies(t):
    _often(t)
    name = _policy(t, {"hot": {"actions": {"rollover": {"max_docs": 1}}}, "warm": {"actions": {"readonly": {}}}, "delete": {"min_age": "2s", "actions": {"delete": {}}}})
    template = t.name("template")
    alias = t.name("logs")
    t.es.indices.put_index_template(name=template, index_patterns=[f"{alias}-*"], template={"settings": {"lifecycle.name": name, "lifecycle.rollover_alias": alias}})
    t.cleanup(lambda: t.es.indices.delete_index_template(name=template))
    _series(t, "logs")
    explained = t.es.ilm.explain_lifecycle(index=f"{alias}-000001")["indices"][f"{alias}-000001"]
    has(explained, {"index": f"{alias}-000001", "managed": True, "policy": name})
    same(t.es.ilm.explain_lifecycle(index=t.index(word="free"))["indices"][t.name("free")], {"index": t.name("free"), "managed": False})
    t.es.index(index=alias, document={"n": 1}, refresh=True)
    _wait(lambda: t.es.indices.exists(index=f"{alias}-000002"), "no rollover")
    _wait(lambda: not t.es.indices.exists(index=f"{alias}-000001"), "not deleted")
    has(t.es.ilm.explain_lifecycle(index=f"{alias}-000002")["indices"][f"{alias}-000002"], {"managed": True, "phase": "hot", "action": "rollover"})
    t.es.ilm.remove_policy(index=f"{alias}-*")


@works("POST /_ilm/stop", "", "nothing is done until `_ilm/start`")
@works("POST /_ilm/start")
@works("GET /_ilm/status")
def lifecycles_are_stopped(t):
    t.cleanup(lambda: t.es.ilm.start())
    same(t.es.ilm.get_status().body, {"operation_mode": "RUNNING"})
    same(t.es.ilm.stop().body, {"acknowledged": True})
    _wait(lambda: t.es.ilm.get_status()["operation_mode"] == "STOPPED", "it does not stop")
    same(t.es.ilm.start().body, {"acknowledged": True})
    same(t.es.ilm.get_status()["operation_mode"], "RUNNING")


@works("POST /_ilm/move/{index}")
@works("POST /{index}/_ilm/retry", "", "400 for an index that has not failed")
def a_step_may_be_skipped(t):
    _often(t)
    name = _policy(t, {"hot": {"actions": {"rollover": {"max_docs": 1000}}}, "delete": {"min_age": "0ms", "actions": {"delete": {}}}})
    alias = _series(t, "logs", **{"lifecycle.name": name, "lifecycle.rollover_alias": t.name("logs")})
    index = f"{alias}-000001"
    at = _wait(lambda: (lambda e: e if e.get("step") == "check-rollover-ready" else None)(t.es.ilm.explain_lifecycle(index=index)["indices"][index]), "it does not come to its rollover")
    fails(lambda: t.es.ilm.retry(index=index), 400, "illegal_argument_exception", index)
    t.es.ilm.move_to_step(index=index, current_step={"phase": at["phase"], "action": at["action"], "name": at["step"]}, next_step={"phase": "delete", "action": "delete", "name": "delete"})
    _wait(lambda: not t.es.indices.exists(index=index), "not deleted")


@works("PUT /_cluster/settings", "`persistent`, `transient`, `null`, patterns", "those that the node has, such as `indices.lifecycle.poll_interval`; others are refused with 400")
@works("GET /_cluster/settings", "`flat_settings`, `include_defaults`")
def settings_of_the_cluster(t):
    key = "indices.lifecycle.poll_interval"
    t.cleanup(lambda: t.es.cluster.put_settings(persistent={key: None}))
    same(t.es.cluster.put_settings(persistent={key: "5m"}).body, {"acknowledged": True, "persistent": {"indices": {"lifecycle": {"poll_interval": "5m"}}}, "transient": {}})
    same(t.es.cluster.get_settings(flat_settings=True).body, {"persistent": {key: "5m"}, "transient": {}})
    t.es.cluster.put_settings(transient={key: "3m"})
    same(t.es.cluster.get_settings(flat_settings=True).body, {"persistent": {key: "5m"}, "transient": {key: "3m"}})
    t.es.cluster.put_settings(persistent={"indices.lifecycle.*": None}, transient={key: None})
    same(t.es.cluster.get_settings().body, {"persistent": {}, "transient": {}})
    same(t.es.cluster.get_settings(flat_settings=True, include_defaults=True)["defaults"][key], "10m")
    fails(lambda: t.es.cluster.put_settings(persistent={"nonsense.setting": 1}), 400, "illegal_argument_exception", "nonsense.setting")
    fails(lambda: t.es.cluster.put_settings(persistent={key: "soon"}), 400, "illegal_argument_exception", key)


@works("PUT /{index}", "names with date math", "`<logs-{now/d}-000001>`, also for searches and rollovers")
def names_with_dates(t):
    expression = f"<{t.stem}-{{now/d{{yyyy.MM.dd}}}}-000001>"
    made = t.es.indices.create(index=expression)["index"]
    same(made, f"{t.stem}-{time.strftime('%Y.%m.%d', time.gmtime())}-000001")
    t.es.index(index=expression, document={"n": 1}, refresh=True)
    same(t.es.count(index=expression)["count"], 1)
