# ENet-SAD on CULane: E2 imitates E3 and E3 imitates E4 from iteration 40,000 on. Plain sums of
# squares as in the paper; see the note of SADLoss about relative=True.
_base_ = './enet_culane.py'

model = dict(distillation=dict(type='SADLoss', stages=(1, 2, 3), loss_weight=0.1))
custom_hooks = [dict(type='SADHook', begin=40000)]
