"""compare.py REFERENCE OURS [KEY...]: the same metadata and tensors? Differences in KEYs are expected."""
import sys

from gguf import GGUFReader


def load(path):
    reader = GGUFReader(path)
    fields = {f.name: ([t.name for t in f.types], f.contents()) for f in reader.fields.values()}
    fields.pop("GGUF.kv_count", None)
    tensors = {t.name: (list(map(int, t.shape)), t.tensor_type.name, t.data.tobytes()) for t in reader.tensors}
    return fields, tensors


def main():
    theirs, ours = load(sys.argv[1]), load(sys.argv[2])
    expected = set(sys.argv[3:])
    differences = []
    for kind, a, b in (("key", theirs[0], ours[0]), ("tensor", theirs[1], ours[1])):
        for name in sorted(a.keys() | b.keys()):
            if a.get(name) != b.get(name) and name not in expected:
                differences.append(f"{kind} {name}: {str(a.get(name))[:200]} but ours {str(b.get(name))[:200]}")
            if a.get(name) == b.get(name) and name in expected:
                differences.append(f"{kind} {name}: expected to differ, but is the same")
    for line in differences:
        print(line)
    with open(sys.argv[1], "rb") as f, open(sys.argv[2], "rb") as g:
        same = "byte for byte" if f.read() == g.read() else "the same keys and tensors"
    print(f"convert: {sys.argv[2]}: {'DIFFERS' if differences else same}"
          + (f", but for {', '.join(sorted(expected))}" if expected else ""))
    sys.exit(bool(differences))


if __name__ == "__main__":
    main()
