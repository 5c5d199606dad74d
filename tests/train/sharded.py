"""`foveal` with weights in shards (FSDP 2) on CPU processes, where accelerate by itself leaves them whole."""

from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType

from foveal.cli import main

begin = AcceleratorState.__init__


def shard(self, *args, fsdp_plugin=None, **kwargs):
    """As accelerate begins on GPUs."""
    begin(self, *args, fsdp_plugin=fsdp_plugin, **kwargs)
    self.fsdp_plugin = fsdp_plugin or self.__dict__.get("fsdp_plugin")
    if self.fsdp_plugin is not None:
        self.distributed_type = DistributedType.FSDP
    if fsdp_plugin is not None and self.mixed_precision != "no":
        fsdp_plugin.set_mixed_precision(self.mixed_precision)


if __name__ == "__main__":
    AcceleratorState.__init__ = shard
    main()
