"""Run ablation studies: settings, data, training, execution, storage, tables. Imports ``kernels``, never the reverse."""
