"""Words as numbers: TF-IDF, small enough that the serving process needs no scikit-learn."""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_array

MAX_WORDS = 4096
WORD = re.compile(r"[^\W\d_]{2,}")  # letters of any script; numbers tell packs and model numbers, not kinds


def tf_idf(texts: Sequence[str]) -> csr_array:
    """(n_texts, n_words) float32: (1 + ln count) x (ln((1 + n) / (1 + texts with the word)) + 1).

    Words of one text alone are left out, for they liken it to none; of the rest the MAX_WORDS most frequent
    stay. Manning, Raghavan & Schütze 2008, section 6.4; the smoothing is scikit-learn's.
    """
    counts = [Counter(WORD.findall(text.lower())) for text in texts]
    spread: Counter[str] = Counter(word for count in counts for word in count)
    shared = sorted(((n, word) for word, n in spread.items() if n > 1), key=lambda pair: (-pair[0], pair[1]))
    column = {word: place for place, (_, word) in enumerate(shared[:MAX_WORDS])}
    idf = np.log((1 + len(texts)) / (1 + np.array([n for n, _ in shared[:MAX_WORDS]], dtype=np.float64))) + 1
    rows, columns, times = [], [], []
    for row, count in enumerate(counts):
        for word, n in count.items():
            if word in column:
                rows.append(row)
                columns.append(column[word])
                times.append(n)
    places = np.array(columns, dtype=np.int64)
    values = (1 + np.log(np.array(times, dtype=np.float64))) * idf[places]
    return csr_array(
        (values.astype(np.float32), (np.array(rows, dtype=np.int64), places)), shape=(len(texts), len(column))
    )
