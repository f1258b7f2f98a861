# What every PTQ config needs beside a model base, a scheme and a recipe. A leaf adds the loop,
#     train_cfg = dict(_delete_=True, type='PTQLoop')
# itself, because its model base has a train_cfg of its own.
custom_imports = dict(imports=['mmptq'], allow_failed_imports=False)
custom_hooks = [dict(type='QuantizationHook')]
