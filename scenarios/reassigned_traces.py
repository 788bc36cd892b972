"""stub"""
def back(context, out, seen): print(seen); return []
def gone(context, out, seen): print(seen); return []
def newcomer(context, out, seen): print(seen); return []
