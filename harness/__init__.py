"""Run ablation studies: settings, data, training, storage, tables. Imports ``kernels``, never the reverse."""
