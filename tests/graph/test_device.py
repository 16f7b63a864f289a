"""Device choice, session configuration, random numbers; the NPU through fakes of both adapters."""

import dataclasses
import json
import logging
import os
import subprocess
import sys

import numpy as np
import pytest

from gru4rec import device, main, tf_compat
from gru4rec.config import npu_options
from gru4rec.device import base, hashed, host, npu
from gru4rec.errors import ConfigError, DeviceError
from gru4rec.tf_compat import tf
from tests import helpers

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(REPOSITORY, "tests"))
import fake_npu  # noqa: E402

tf_compat.setup()

needs_xla = pytest.mark.skipif(not tf_compat.has_xla(), reason="compiled loops need TensorFlow 2.6")


@pytest.fixture(autouse=True)
def no_devices(monkeypatch):
    """Whatever this machine has, the tests see no NPU and no GPU unless they say so."""
    monkeypatch.setattr(npu, "device_nodes", lambda: [])
    monkeypatch.setattr(host, "list_gpus", lambda: [])
    monkeypatch.delenv(npu.SKIP_CHECK, raising=False)


@pytest.fixture(params=fake_npu.ADAPTERS)
def adapter(request, monkeypatch):
    """Name of each adapter in turn; the code then takes TensorFlow for the version it needs."""
    monkeypatch.setattr(tf_compat, "IS_TF2", request.param == "npu_device")
    return request.param


@pytest.fixture
def davinci(monkeypatch):
    monkeypatch.setattr(npu, "device_nodes", lambda: ["/dev/davinci0"])


def run(tensor, feed=None):
    with tf.Session(config=host.Cpu("").session_config()) as session:
        return session.run(tensor, feed)


def parameter_map(config):
    entry, = config.graph_options.rewrite_options.custom_optimizers
    return {key: (value.WhichOneof("value"), getattr(value, value.WhichOneof("value")))
            for key, value in entry.parameter_map.items()}


# --- choice


def test_cpu_hides_gpus_and_says_so():
    chosen = device.choose("cpu")
    assert (chosen.name, chosen.use_resource) == ("cpu", True)
    assert not chosen.conservative_optimizer and chosen.stateless
    assert chosen.xla == tf_compat.has_xla()
    assert chosen.session_config().device_count["GPU"] == 0
    assert not chosen.session_config().graph_options.rewrite_options.custom_optimizers


def test_a_device_is_immutable():
    with pytest.raises(dataclasses.FrozenInstanceError):
        device.choose("cpu").reason = "other"


def test_gpu_takes_memory_as_needed(monkeypatch):
    monkeypatch.setattr(host, "list_gpus", lambda: ["GPU:0"])
    for name in ("gpu", "auto"):
        chosen = device.choose(name)
        assert chosen.name == "gpu" and chosen.use_resource
        assert chosen.session_config().gpu_options.allow_growth
        assert chosen.session_config().allow_soft_placement


def test_explicit_gpu_without_one_names_what_is_missing(monkeypatch):
    monkeypatch.setattr(tf.test, "is_built_with_cuda", lambda: False)
    with pytest.raises(DeviceError, match="built without CUDA; install a build for GPU") as caught:
        device.choose("gpu")
    assert caught.value.exit_status == 2 and "\n" not in str(caught.value)
    monkeypatch.setattr(tf.test, "is_built_with_cuda", lambda: True)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    with pytest.raises(DeviceError,
                       match="CUDA_VISIBLE_DEVICES is '-1'; name a GPU there or unset it"):
        device.choose("gpu")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    with pytest.raises(DeviceError, match="lists no GPU; check that nvidia-smi"):
        device.choose("gpu")


def test_auto_falls_back_to_cpu_and_logs_why_once(caplog):
    with caplog.at_level(logging.INFO, "gru4rec"):
        chosen = device.choose("auto")
    record, = caplog.records
    assert chosen.name == "cpu" and record.levelno == logging.INFO
    assert "no npu: Python package" in chosen.reason and "no gpu: TensorFlow" in chosen.reason
    assert record.getMessage() == "device: cpu (%s)" % chosen.reason


def test_auto_warns_when_an_npu_is_there_but_unusable(davinci, caplog):
    with caplog.at_level(logging.INFO, "gru4rec"):
        assert device.choose("auto").name == "cpu"
    record, = caplog.records
    assert record.levelno == logging.WARNING and "PYTHONPATH" in record.getMessage()


def test_unknown_names_are_refused():
    with pytest.raises(DeviceError, match="'tpu'; use one of: auto, npu, gpu, cpu"):
        device.choose("tpu")
    with pytest.raises(ValueError, match="job 'test'"):
        device.choose("cpu", job="test")


@pytest.mark.once
@pytest.mark.parametrize("name", ["cpu", "gpu"])
@pytest.mark.parametrize("adapter_name", fake_npu.ADAPTERS)
def test_cpu_and_gpu_import_nothing_of_an_installed_adapter(name, adapter_name):
    script = """
import sys
import fake_npu
from gru4rec import device, tf_compat
from gru4rec.device import host
tf_compat.setup()
host.list_gpus = lambda: ["GPU:0"]
with fake_npu.installed(%r) as fake:
    device.choose(%r)
    with tf_compat.tf.Session(): pass
    print(fake.imported, fake_npu.traces(), fake.calls, "gru4rec.device.npu" in sys.modules)
""" % (adapter_name, name)
    environment = dict(os.environ,
                       PYTHONPATH=os.pathsep.join([REPOSITORY, os.path.join(REPOSITORY, "tests")]))
    out = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, env=environment,
                         check=True).stdout
    assert out.decode().strip() == "[] [] [] False"


def test_a_training_on_the_cpu_with_every_flag_of_an_npu_imports_nothing_of_an_installed_adapter(
        tmp_path):
    script = """
import sys
import fake_npu
from gru4rec import main
with fake_npu.installed(%r) as fake:
    status = main.main([
        "--device", "cpu", "--size", "4", "--batch_size", "400", "--epoch", "1",
        "--compare_rules", "0", "--loss_scale", "dynamic", "--precision_mode", "force_fp16",
        "--npu_opt", "hccl_timeout=9", "--xla", "off", "--checkpoint_dir", %r])
    print(status, fake.imported, fake_npu.traces(), fake.calls, "gru4rec.device.npu" in sys.modules)
""" % ("npu_device" if tf_compat.IS_TF2 else "npu_bridge", str(tmp_path))
    environment = dict(os.environ,
                       PYTHONPATH=os.pathsep.join([REPOSITORY, os.path.join(REPOSITORY, "tests")]))
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, env=environment)
    assert done.stdout.decode().splitlines()[-1] == "0 [] [] [] False", done.stderr.decode()
    assert "ignores the npu options: hccl_timeout, precision_mode" in done.stderr.decode()


def test_option_table_and_package_import_without_tensorflow():
    script = "import sys, gru4rec.config.npu_options; print('tensorflow' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=REPOSITORY,
                         check=True).stdout
    assert out.decode().strip() == "False"


# --- npu: what can be missing


def refused(*words):
    """The one-line error of an explicit npu; auto must then take the cpu for the same reason."""
    with pytest.raises(DeviceError) as caught:
        device.choose("npu")
    text = str(caught.value)
    assert "\n" not in text and caught.value.exit_status == 2
    for word in words:
        assert word in text
    chosen = device.choose("auto")
    assert chosen.name == "cpu" and text in chosen.reason
    assert fake_npu.traces() == []
    return text


def test_npu_without_adapter_names_the_package(adapter, davinci):
    refused(adapter, "is not installed", "PYTHONPATH")


def test_npu_with_the_other_adapter_says_which_tensorflow_it_needs(adapter, davinci):
    other, wants = {"npu_bridge": ("npu_device", "2.6.5"),
                    "npu_device": ("npu_bridge", "1.15")}[adapter]
    with fake_npu.installed(other) as fake:
        refused("%s is, but it needs TensorFlow %s" % (other, wants))
        assert fake.imported == []


def test_npu_without_device_node(adapter):
    with fake_npu.installed(adapter) as fake:
        refused("/dev/davinci0", "npu-smi info", npu.SKIP_CHECK + "=1")
        assert fake.imported == []


def test_npu_without_libraries_says_to_source_set_env(adapter, davinci, capsys):
    with fake_npu.installed(adapter, failure="no libraries"):
        refused("CANN libraries (libge_runner.so: cannot open shared object file)", "set_env.sh")
    assert capsys.readouterr().out == ""


def test_npu_without_hccl_says_to_source_set_env(adapter, davinci):
    with fake_npu.installed(adapter, failure="no hccl"):
        refused("hccl is not on PYTHONPATH", "set_env.sh")


def test_npu_without_a_python_module_names_it(adapter, davinci):
    with fake_npu.installed(adapter, failure="no module"):
        refused("%s needs the Python module decorator; install it" % adapter)


def test_npu_with_a_broken_adapter_shows_its_error(adapter, davinci):
    with fake_npu.installed(adapter, failure="broken"):
        refused("importing %s failed (AttributeError: two lines)" % adapter)


def test_npu_after_a_failed_import_can_be_had_once_mended(adapter, davinci):
    with fake_npu.installed(adapter, failure="no libraries") as fake:
        refused("set_env.sh")
        fake.failure = None
        assert device.choose("npu").name == "npu"


def test_davinci_check_can_be_skipped(adapter, monkeypatch):
    monkeypatch.setenv(npu.SKIP_CHECK, "1")
    with fake_npu.installed(adapter):
        assert device.choose("npu").name == "npu"


# --- npu: what it is


def test_npu_device_properties_and_imports(adapter, davinci, monkeypatch, caplog):
    monkeypatch.setattr(host, "list_gpus",
                        lambda: pytest.fail("GPUs were listed although the NPU was there"))
    real = tf.Session.__init__
    with fake_npu.installed(adapter) as fake, caplog.at_level(logging.INFO, "gru4rec"):
        chosen = device.choose("auto")
        assert fake.imported[-1].endswith("estimator.npu_ops")
        assert not [name for name in fake.imported if "npu_init" in name]
        assert fake.calls == ([("enable_v1",)] if adapter == "npu_device" else [])
        assert tf.Session.__init__ is real
    assert (chosen.name, chosen.use_resource) == ("npu", False)
    assert chosen.conservative_optimizer and not chosen.stateless and not chosen.xla
    assert "no stateless random numbers" in caplog.records[-1].getMessage()


def test_the_fake_patches_session_when_npu_init_is_imported(adapter):
    real = tf.Session.__init__
    with fake_npu.installed(adapter) as fake:
        fake.module("npu_init")
        with tf.Session():
            assert fake.calls == [("patched Session",)]
    assert tf.Session.__init__ is real


@pytest.mark.parametrize("job, mode", [("train", 1), ("infer", 0)])
def test_npu_session_config(adapter, davinci, job, mode):
    with fake_npu.installed(adapter):
        chosen = device.choose("npu", job=job)
    config = chosen.session_config()
    assert [e.name
            for e in config.graph_options.rewrite_options.custom_optimizers] == ["NpuOptimizer"]
    assert parameter_map(config) == {
        "use_off_line": ("b", True), "mix_compile_mode": ("b", False),
        "graph_run_mode": ("i", mode),
        "precision_mode": ("s", b"must_keep_origin_dtype")}
    rewrite = config.graph_options.rewrite_options
    assert rewrite.remapping == 2 and rewrite.memory_optimization == 2  # RewriterConfig.OFF
    assert not rewrite.disable_model_pruning and rewrite.constant_folding == 0
    assert config.allow_soft_placement and not config.log_device_placement
    assert config.graph_options.optimizer_options.global_jit_level == -1  # OFF
    assert chosen.session_config() is not config and chosen.session_config() == config


def test_npu_options_overlay_the_defaults(davinci, adapter):
    with fake_npu.installed(adapter):
        chosen = device.choose("npu", {"precision_mode": "force_fp32", "mix_compile_mode": True})
    written = parameter_map(chosen.session_config())
    assert written["precision_mode"] == ("s", b"force_fp32")
    assert written["mix_compile_mode"] == ("b", True)
    assert len(written) == 4


@pytest.mark.parametrize("options, words", [
    ({"precision_mod": "x"}, "'precision_mod' is unknown; known: aoe_config_file"),
    ({"precision_mode": "fp32"}, "precision_mode 'fp32' is unknown; use one of: force_fp32"),
    ({"precision_mode": True}, "precision_mode True is not text"),
    ({"mix_compile_mode": 1}, "mix_compile_mode 1 is not True or False"),
    ({"graph_run_mode": True}, "graph_run_mode True is not a whole number"),
    ({"graph_run_mode": 2}, "graph_run_mode 2 is unknown; use one of: 0, 1"),
    ({"graph_run_mode": 0}, "graph_run_mode 0 contradicts"),
    ({"use_off_line": False}, "use_off_line False contradicts"),
])
def test_wrong_npu_options_are_refused_whatever_the_device(options, words):
    with pytest.raises(ConfigError) as caught:
        device.choose("cpu", options)
    assert words in str(caught.value)


def test_npu_options_on_another_device_are_ignored_aloud(caplog):
    device.choose("cpu", {"precision_mode": "force_fp32"})
    assert "cpu ignores the npu options: precision_mode" in caplog.text


def test_every_option_is_written_to_the_field_the_adapter_reads():
    for job in ("train", "infer"):
        assert set(npu_options.defaults(job)) <= set(npu_options.TABLE)
        npu_options.check(npu_options.defaults(job), job)


def test_options_of_the_table_and_others_reach_their_field_and_reading_creates_none(adapter,
                                                                                    davinci):
    options = {"hccl_timeout": 600, "dump_step": "0|5", "hcom_parallel": False, "brand_new:i": 7,
               "precision_mode_v2": "fp16"}
    with fake_npu.installed(adapter):
        chosen = device.choose("npu", options, steps_per_run=20)
    written = parameter_map(chosen.session_config())
    assert written["hccl_timeout"] == ("i", 600) and written["dump_step"] == ("s", b"0|5")
    assert written["hcom_parallel"] == ("b", False) and written["brand_new"] == ("i", 7)
    assert written["iterations_per_loop"] == ("i", 20)
    assert written["enable_data_pre_proc"] == ("b", True)
    assert "precision_mode" not in written and len(written) == 10
    config = chosen.session_config()
    entry, = config.graph_options.rewrite_options.custom_optimizers
    read = npu_options.read(entry.parameter_map)
    assert read["dump_step"] == {"field": "s", "value": "0|5"} and parameter_map(config) == written


def test_the_device_configuration_is_printed_npu_or_not(capsys):
    for name, available in (("npu", False), ("cpu", True)):
        assert main.main(["--device", name, "--print_device_config", "--train", "0", "--npu_opt",
                          "hccl_timeout=9"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert (found["device"], found["available"], found["job"]) == (name, available, "infer")
        expected = {} if name == "cpu" else {
            "use_off_line": {"field": "b", "value": True},
            "mix_compile_mode": {"field": "b", "value": False},
            "graph_run_mode": {"field": "i", "value": 0},
            "hccl_timeout": {"field": "i", "value": 9},
            "precision_mode": {"field": "s", "value": "must_keep_origin_dtype"}}
        assert found["parameter_map"] == expected
        assert found["accelerator"]["npu_opt"] == ["hccl_timeout=9"]
        assert ("NpuOptimizer" in found["session"]) == (name == "npu")


def test_a_session_with_the_npu_config_trains(adapter, davinci):
    with fake_npu.installed(adapter) as fake, tf.Graph().as_default():
        chosen = device.choose("npu")
        weight = tf.get_variable("weight", [4], initializer=tf.ones_initializer(),
                                 use_resource=chosen.use_resource)
        dropped = chosen.dropout(weight * 3.0, 0.25, seed=1, step=0, stream=0)
        noise = chosen.random_int31([400], seed=1, step=0, stream=1)
        train = tf.train.GradientDescentOptimizer(0.1).minimize(tf.reduce_sum(weight * weight))
        with tf.Session(config=chosen.session_config()) as session:
            session.run(tf.global_variables_initializer())
            session.run(train)
            np.testing.assert_allclose(session.run(weight), [0.8] * 4, rtol=1e-6)
            assert set(np.round(session.run(dropped), 4)) <= {0.0, np.float32(3.2)}
            drawn = session.run(noise)
            assert drawn.dtype == np.int32 and 0 <= drawn.min() < 2 ** 26
            assert 2 ** 31 - 2 ** 26 < drawn.max()
        call, = [c for c in fake.calls if c[0] == "dropout"]
        assert call == ("dropout", 0.75, 1)


# --- random numbers


def uniform(shape, seed=7, step=5, stream=3):
    """Numbers in [0, 1): the top 23 bits of each word, as the dropout of a host compares them."""
    high = tf.bitwise.right_shift(hashed.bits(shape, seed, step, stream), tf.constant(9))
    return tf.cast(high, tf.float32) * 2.0 ** -23 + 0.5


def mixed(x):
    """The hash in numpy's uint32."""
    x = np.asarray(x, np.uint32)
    for shift, factor in ((16, 0x21f0aaad), (15, 0x735a2d97)):
        x = (x ^ (x >> np.uint32(shift))) * np.uint32(factor)
    return x ^ (x >> np.uint32(15))


@pytest.mark.parametrize("step", [0, 5, 2 ** 31 - 1])
def test_bits_are_the_hash_of_seed_stream_position_and_step(step):
    words = np.random.RandomState([7, 3]).randint(-2 ** 31, 2 ** 31, size=[2, 5],
                                                  dtype=np.int64).astype(np.int32)
    with np.errstate(over="ignore"):
        expected = mixed(words.view(np.uint32) ^ mixed([step]))
    np.testing.assert_array_equal(run(hashed.bits([2, 5], 7, step, 3)).view(np.uint32), expected)
    draws = run(uniform([2, 5], step=step))
    assert draws.dtype == np.float32
    np.testing.assert_array_equal(draws, ((expected.view(np.int32) >> 9) + 2 ** 22) / 2.0 ** 23)


def test_the_bits_of_a_seed_never_change():
    """Of TF 1.15.5 and TF 2.21, numpy 1.18 and 2.4; a resumed run depends on them."""
    np.testing.assert_array_equal(run(hashed.bits([6], 7, 5, 3)), [
        -1568235262, -1441662149, 623245086, -2103417581, 196653204, -1107008347])


def test_int64_steps_give_the_bits_of_int32_steps():
    for seed in (7, 2 ** 31 - 1):
        a, b, c = run([uniform([8], seed=seed, step=step)
                       for step in (5, tf.constant(5, tf.int32), tf.constant(5, tf.int64))])
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, c)


def test_uniform_depends_on_seed_step_and_stream_and_on_nothing_else():
    draws = run([uniform([64], *key)
                 for key in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 0, 0))])
    np.testing.assert_array_equal(draws[0], draws[4])
    for i in range(4):
        for j in range(i):
            assert not np.array_equal(draws[i], draws[j])


def test_uniform_is_uniform():
    draws = run(uniform([100, 1000]))
    assert draws.min() >= 0 and draws.max() < 1
    counts = np.histogram(draws, bins=20, range=(0, 1))[0]
    # chi square, 19 degrees of freedom, p = 0.001
    assert ((counts - 5000) ** 2 / 5000.0).sum() < 43.8


def test_draws_of_steps_streams_and_positions_are_independent():
    """Chi square of pairs in a 10 x 10 table: 99 degrees of freedom, p = 0.0001.

    Some of the steps differ in one bit only.
    """
    shape, first = [100, 400], (0, 5, 3)
    others = [(0, 4, 3), (0, 6, 3), (0, 5 + 2 ** 20, 3), (0, 2 ** 30 + 5, 3), (0, 5, 2), (1, 5, 3)]
    draws = run([uniform(shape, *key) for key in [first] + others])
    pairs = [(draws[0], other) for other in draws[1:]]
    pairs += [(draws[0][:, :-1], draws[0][:, 1:]), (draws[0][:-1], draws[0][1:])]
    for a, b in pairs:
        counts = np.histogram2d(a.ravel(), b.ravel(), bins=10, range=[(0, 1), (0, 1)])[0]
        mean = counts.sum() / 100
        assert ((counts - mean) ** 2 / mean).sum() < 160.1


def test_one_position_is_uniform_over_steps():
    draws = run(tf.map_fn(lambda step: uniform([3], step=step), tf.range(20000), dtype=tf.float32))
    for column in draws.T:
        counts = np.histogram(column, bins=20, range=(0, 1))[0]
        assert ((counts - 1000) ** 2 / 1000.0).sum() < 43.8


def test_stream_seeds_are_distinct_int32():
    seeds = [base.stream_seed(seed, stream) for seed in (0, 1, 2, 1000)
             for stream in range(base.NUM_STREAMS)]
    assert len(set(seeds)) == len(seeds) and min(seeds) >= -2 ** 31 and max(seeds) < 2 ** 31
    assert base.stream_seed(7, 0) == 7
    with pytest.raises(ValueError, match="stream %d" % base.NUM_STREAMS):
        base.stream_seed(0, base.NUM_STREAMS)


def test_dropout_keeps_its_share_and_its_mean():
    kept = run(host.Cpu("").dropout(tf.ones([200, 500]), 0.3, seed=1, step=1, stream=0))
    assert set(np.unique(kept)) == {np.float32(0), np.float32(1 / 0.7)}
    assert abs((kept > 0).mean() - 0.7) < 0.005  # 3.4 standard deviations
    assert abs(kept.mean() - 1) < 0.007


@pytest.mark.parametrize("rate", [0.1, 0.25, 0.5, 0.9])
def test_dropout_mask_is_the_uniform_draw_at_or_above_the_rate(rate):
    cpu = host.Cpu("")
    x = tf.constant(np.random.RandomState(0).randn(20, 30), tf.float32)
    dropped, draws, plain = run([cpu.dropout(x, rate, 7, 5, 3), uniform([20, 30]), x])
    np.testing.assert_allclose(dropped,
                               np.where(draws.astype(np.float64) >= rate, plain / (1 - rate), 0),
                               rtol=1e-6)


def test_dropout_gradient_is_the_mask():
    x = tf.ones([6, 7])
    dropped = host.Cpu("").dropout(x, 0.5, 7, 5, 3)
    a, b = run([dropped, tf.gradients(dropped, x)[0]])
    np.testing.assert_array_equal(a, b)


def test_dropout_of_rate_zero_adds_nothing_and_of_rate_one_is_refused(adapter, davinci):
    x = tf.ones([2])
    with fake_npu.installed(adapter):
        for chosen in (host.Cpu(""), device.choose("npu")):
            assert chosen.dropout(x, 0.0, 1, 1, 0) is x
            with pytest.raises(ValueError, match="rate 1.0"):
                chosen.dropout(x, 1.0, 1, 1, 0)


def test_dropout_keeps_half_precision():
    dropped = run(host.Cpu("").dropout(tf.ones([50], tf.float16), 0.5, 7, 5, 3))
    assert dropped.dtype == np.float16 and set(np.unique(dropped)) == {0, 2}


def test_random_numbers_in_a_while_loop_are_those_outside():
    def body(step, rows):
        return step + 1, rows.write(step, uniform([4], step=step))

    rows = tf.while_loop(lambda step, _: step < 3, body,
                         [tf.constant(0), tf.TensorArray(tf.float32, 3)])[1].stack()
    looped, alone = run([rows, tf.stack([uniform([4], step=step) for step in range(3)])])
    np.testing.assert_array_equal(looped, alone)


@needs_xla
def test_compiled_random_numbers_are_bit_for_bit_the_plain_ones():
    def draw(step):
        cpu = host.Cpu("")
        return (cpu.random_int31([3, 7], 7, step, 3),
                cpu.dropout(tf.ones([33, 5]), 0.5, 7, step, 4))

    step = tf.placeholder(tf.int32, [])
    plain, compiled = run([draw(step), tf_compat.jit_function(draw)(step)], {step: 12345})
    for a, b in zip(plain, compiled):
        np.testing.assert_array_equal(a, b)


@pytest.mark.skipif(tf_compat.has_xla(), reason="this TensorFlow compiles")
def test_jit_function_without_xla_says_what_is_needed():
    with pytest.raises(RuntimeError, match="2.6 or later"):
        tf_compat.jit_function(lambda x: x)


# --- tf_compat


@needs_xla
@pytest.mark.parametrize("version, before, after", [
    ((2, 6, 5), None, "--xla_cpu_multi_thread_eigen=false"),
    ((2, 6, 5), "--xla_dump_to=d", "--xla_dump_to=d --xla_cpu_multi_thread_eigen=false"),
    ((2, 6, 5), "--xla_cpu_multi_thread_eigen=true", "--xla_cpu_multi_thread_eigen=true"),
    ((2, 15, 1), None, None)])
def test_old_compiled_products_are_summed_in_one_order_unless_the_user_says_so(
        version, before, after, monkeypatch):
    monkeypatch.setattr(os, "environ", {"XLA_FLAGS": before} if before else {})
    monkeypatch.setattr(tf_compat, "TF_VERSION", version)
    tf_compat.jit_function(abs)
    assert os.environ.get("XLA_FLAGS") == after


def test_setup_is_idempotent_and_import_has_no_effect():
    script = """
from gru4rec import tf_compat
from gru4rec.tf_compat import tf
print(tf.executing_eagerly() == tf_compat.IS_TF2)
tf_compat.setup(); tf_compat.setup()
print(tf.executing_eagerly())
tf.get_variable("v", [2])
with tf.Session() as session: session.run(tf.global_variables_initializer())
"""
    environment = {k: v for k, v in os.environ.items() if "TF_CPP" not in k}
    script = "from gru4rec.command import process; process.setup_logging()" + script
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, cwd=REPOSITORY, check=True, env=environment)
    assert done.stdout.decode().split() == ["True", "False"]
    assert helpers.foreign_lines(done.stderr.decode()) == []
